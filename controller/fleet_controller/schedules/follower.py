"""Looks every second for what is due by time, and has it carried out.

Nothing here is kept: what was carried out is in the store. So whoever leads next goes on with it,
and of points that came while nobody led the last one counts.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from fleet_controller.changes.schedules import ScheduleChanges
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.refusals import Refused
from fleet_controller.core.schedules.due import Cause, is_behind
from fleet_controller.core.schedules.outlook import Outlook
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.mirror.committer import Outdated
from fleet_controller.store.port import StoreError

LOOK_SECONDS = 1.0
# Until what could not be is tried again.
AGAIN_SECONDS = 30.0


class _Seen(NamedTuple):
    """Nothing was due of this, as of then."""

    outlook: Outlook | None
    total: int
    generation: int


class ScheduleFollower:
    """Of one leadership."""

    def __init__(self, memory: LeaderMemory, changes: ScheduleChanges) -> None:
        self._memory = memory
        self._changes = changes
        self._quiet: dict[str, _Seen] = {}  # by uid
        self._again: dict[str, float] = {}  # by uid: when, on the monotonic clock
        self._told_behind: set[str] = set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            fleets = tuple(self._memory.state.fleets.values())
            for fleet in fleets:
                await self._look(fleet)
            there = {fleet.uid for fleet in fleets}
            for known in (self._quiet, self._again):
                for uid in known.keys() - there:
                    del known[uid]
            self._told_behind &= there
            self._memory.outlooks.keep(there)

    async def _look(self, fleet: FleetRecord) -> None:
        outlook = self._memory.outlook(fleet)
        if outlook is None:
            return
        self._tell_if_behind(fleet)
        # The same outlook: neither record nor schedule is another, and no point has come.
        seen = _Seen(outlook, fleet.total, fleet.generation)
        last = self._quiet.get(fleet.uid)
        if last is not None and last.outlook is outlook and last[1:] == seen[1:]:
            return
        found = self._changes.due(fleet)
        if found is None:
            self._quiet[fleet.uid] = seen
            return
        now = self._memory.clock()
        if found.cause is Cause.AGAIN and now < self._again.get(fleet.uid, 0.0):
            return
        self._again[fleet.uid] = now + AGAIN_SECONDS
        try:
            await self._changes.carry_out(fleet.name)
        except (Outdated, StoreError, Refused):
            return  # the same is found again

    def _tell_if_behind(self, fleet: FleetRecord) -> None:
        record = self._memory.state.schedules.get(fleet.uid)
        if record is None or not is_behind(record, self._memory.events.now()):
            self._told_behind.discard(fleet.uid)
        elif fleet.uid not in self._told_behind:
            self._told_behind.add(fleet.uid)
            text = (
                f"fleet {fleet.name}: this controller's clock is behind of what carried its "
                "schedule out last; points up to then are not carried out again"
            )
            self._memory.events.add("schedule_clock", text, fleet=fleet.name)
