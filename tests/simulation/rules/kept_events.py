"""Whoever leads tells again what earlier leaders have kept in the store, whose ring never grows."""

from __future__ import annotations

from fleet_controller.core.events.event_ring import SLOTS
from fleet_controller.events import CURSORS, KEPT
from fleet_controller.leader.memory import LeaderMemory
from tests.simulation.doubles.operator import Operator
from tests.simulation.engine.trace import Fail


class KeptEvents:
    """Looks every second."""

    def __init__(self, operator: Operator, fail: Fail) -> None:
        self._operator = operator
        self._fail = fail

    def look(self) -> None:
        found = self._operator.leading()
        if found is not None and found[1].ready.is_set():
            self._check(found[1].memory)

    def _check(self, memory: LeaderMemory) -> None:
        ring = memory.state.events.by_slot
        if len(ring) > SLOTS:
            self._fail("kept events", f"the ring holds {len(ring):,} events")
        if any(one.cursor >= (memory.term_revision + 1) * CURSORS for one in ring.values()):
            return  # a newer leader writes there: this one does not know yet that it leads no more
        told = {event.cursor for event in memory.events.page(0, KEPT, "", "").events}
        if len(told) == KEPT:
            return  # older ones have made way
        anew = {cursor for one in memory.events.unsaved.first(SLOTS) for cursor in one.told_before}
        lost = [one for one in ring.values() if one.cursor not in told | anew]
        if lost:
            self._fail("kept events", f"{lost[0].kind} is in the store, and is not told")
