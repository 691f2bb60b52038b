"""The ring of events as the store has it."""

from __future__ import annotations

from fleet_controller.core.events.event_ring import EventRecord, slot_of
from fleet_controller.mirror.broken_records import BrokenRecords
from fleet_controller.store import keys


class EventTable:
    """Written by the mirror of the store alone. `records`: by the name of their slot."""

    def __init__(self, broken: BrokenRecords) -> None:
        self.records: dict[str, EventRecord] = {}
        self._broken = broken

    @property
    def by_slot(self) -> dict[int, EventRecord]:
        """Those that can be understood."""
        slots = ((slot_of(name), record) for name, record in self.records.items())
        return {slot: record for slot, record in slots if slot is not None}

    @property
    def broken_slots(self) -> set[int]:
        """Slots whose record cannot be understood."""
        ring = (
            key.removeprefix(keys.EVENTS) for key in self._broken if key.startswith(keys.EVENTS)
        )
        return {slot for name in ring if (slot := slot_of(name)) is not None}
