"""Events that are to outlive their leader, and are not in the store yet."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.events.event_ring import SLOTS, FreshEvent, is_kept, record_of


@dataclass(frozen=True, slots=True)
class _Unsaved:
    event: cluster.Event
    told_before: tuple[int, ...]


class UnsavedEvents:
    """Of a leader; the newest, while the store takes none: as many as the ring holds."""

    def __init__(self) -> None:
        self._events: dict[int, _Unsaved] = {}  # by cursor, in their order

    def __len__(self) -> int:
        return len(self._events)

    def told(self, event: cluster.Event, before: int) -> None:
        """An event has been told; `before`: under which cursor it was told already, else 0."""
        if not is_kept(event.kind):
            return
        waiting = self._events.pop(before, None)
        # Under any of these it may be in the store by the time that this one is written.
        earlier = (*(waiting.told_before if waiting else ()), *((before,) if before else ()))
        self._events[event.cursor] = _Unsaved(event, earlier)
        if len(self._events) > SLOTS:
            del self._events[next(iter(self._events))]

    def first(self, most: int) -> list[FreshEvent]:
        """The oldest of them, as they are to be written."""
        chosen = list(self._events.values())[:most]
        return [FreshEvent(record_of(one.event), one.told_before) for one in chosen]

    def saved(self, written: list[FreshEvent]) -> None:
        """These are in the store. What was told anew meanwhile waits under its new cursor."""
        for one in written:
            self._events.pop(one.record.cursor, None)
