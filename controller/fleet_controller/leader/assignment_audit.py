"""Sees that each VM is in one assignment only, at once and then for ever, and mends it where it is
not. No plan makes it so; somebody who writes in the store may."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.agents.links import Links
from fleet_controller.core.audit import BY_LEADER
from fleet_controller.core.model import Assignment
from fleet_controller.core.placement.double_assignments import Loss, double_assignments, healed
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.off_loop import OffLoop
from fleet_controller.leader.planner import Planner
from fleet_controller.leader.writer import ChangeWriter, beside_their_lines
from fleet_controller.mirror.committer import Outdated
from fleet_controller.mirror.records import put_assignments
from fleet_controller.store.port import StoreError

# Seconds between two looks at all assignments.
INTERVAL = 30.0


class AssignmentAudit:
    """Of one leadership."""

    def __init__(
        self,
        memory: LeaderMemory,
        writer: ChangeWriter,
        planner: Planner,
        links: Links,
        off_loop: OffLoop,
    ) -> None:
        self._memory = memory
        self._links = links
        self._writer = writer
        self._planner = planner
        self._off_loop = off_loop

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                if self._planner.plans_freely:
                    await self._look()
            except (Outdated, StoreError):
                pass  # the same is found again
            await asyncio.sleep(INTERVAL if self._planner.plans_freely else 1.0)

    async def _look(self) -> None:
        assignments = dict(self._memory.state.assignments)
        if await self._off_loop.run(lambda: double_assignments(assignments)):
            await self._writer.decide(self._mend, attempts=1)

    async def _mend(self) -> None:
        losses = double_assignments(self._memory.state.assignments)
        readable = [one for one in losses if one.host not in self._memory.state.unread]
        changed = healed(self._memory.view(), readable)
        lines = [
            self._writer.audited("double_assignment", BY_LEADER, host=host) for host in changed
        ]
        await self._writer.write(beside_their_lines(put_assignments(changed), lines))
        for host in _keepers(self._memory.state.assignments, readable):
            self._memory.observed.count_again(host)
            self._links.ask_anew(host)
        for host in changed:
            count = sum(len(one.indices) for one in readable if one.host == host)
            text = f"{host} lets go of {count:,} VMs that another host is to have by a later word"
            self._memory.events.add("double_assignment", text, host=host)


def _keepers(assignments: Mapping[str, Assignment], losses: Iterable[Loss]) -> set[str]:
    """The hosts that go on having what others have lost."""
    lost: dict[str, IndexSet] = {}
    for loss in losses:
        lost[loss.shard.fleet] = lost.get(loss.shard.fleet, EMPTY) | loss.indices
    return {
        host
        for host, assignment in assignments.items()
        for shard in assignment.shards
        if not shard.staged and shard.ranges & lost.get(shard.fleet, EMPTY)
    }
