"""The leader's loop: what is asked for and what hosts report, planned and written.

Level-triggered: events only wake it, and each pass recomputes everything from the mirror of the
store and the reports.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from fleet_controller.core.model import ClusterView
from fleet_controller.core.passes import Pass, decide, is_at_rest
from fleet_controller.core.placement.placement import FleetPlan
from fleet_controller.leader.completions import Completions
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.off_loop import OffLoop
from fleet_controller.leader.planning import Planning
from fleet_controller.leader.store_trust import StoreTrust
from fleet_controller.leader.wake import PlannerWake
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.audit import Audit
from fleet_controller.mirror.committer import Outdated
from fleet_controller.mirror.follower import StoreFollower
from fleet_controller.mirror.records import put_assignments
from fleet_controller.store.port import StoreError
from fleet_controller.waiting import within


class Planner:
    """Of one leadership. `planning`: what was decided last."""

    def __init__(
        self,
        memory: LeaderMemory,
        writer: ChangeWriter,
        trust: StoreTrust,
        wake: PlannerWake,
        audit: Audit,
        follower: StoreFollower,
        off_loop: OffLoop,
    ) -> None:
        self._memory = memory
        self._writer = writer
        self._trust = trust
        self._wake = wake
        self._audit = audit
        self._follower = follower
        self._off_loop = off_loop
        self._completions = Completions(memory, writer)
        self._settled = False  # hosts have heard the term, or were waited for
        self.planning = Planning()

    @property
    def plans_freely(self) -> bool:
        """Whether plans may be carried out: hosts have heard the term, and the store is trusted."""
        return self._settled and self._trust.trusted

    def adopt(self, plans: Mapping[str, FleetPlan]) -> None:
        """A scale has planned too, by name of the fleet: what it found holds until the next
        pass."""
        self.planning = msgspec.structs.replace(self.planning, plans=plans)

    async def run(self) -> None:
        """Until cancelled."""
        await self._settle()
        seen = -1
        while True:
            seen = await self._wake.after(seen, self._seconds_until_due())
            try:
                seen = await self._writer.decide(self._pass, while_frozen=True, attempts=1)
                self._follower.note_success()
            except Outdated:
                self._wake.changed()
            except StoreError as error:
                self._follower.note_trouble(error)
                self._wake.changed()
                await self._follower.read_when_possible()
            await self._wake.pause(self._memory.settings.pass_interval)

    def _seconds_until_due(self) -> float | None:
        """Until the clock alone lets something be done; None: it does not."""
        due = [self._completions.seconds_until_deadline()]
        if any(use.waiting for use in self.planning.last_pass.budgets.values()):
            due.append(self._memory.begun_anew.seconds_until_less())
        if (canaries := self.planning.last_pass.look_again) is not None:
            due.append(canaries)
        soonest = min(due)
        return None if soonest == math.inf else max(soonest, self._memory.settings.pass_interval)

    async def _settle(self) -> None:
        """Tell the term on every link before planning, but wait for no dead host."""
        if not await within(self._memory.settings.settle, self._memory.links.settled.wait()):
            text = "planning begins though some hosts do not answer"
            self._memory.events.add("hosts_unheard", text)
        self._settled = True
        self._wake.changed()

    async def _pass(self) -> int:
        """The version of the wake that it has taken into account."""
        seen = self._wake.version
        if self.plans_freely and await self._plan():
            self._wake.rest(seen)
        return seen

    async def _plan(self) -> bool:
        """Whether nothing was left to do."""
        state = self._memory.state
        if trimming := self._audit.trimming():
            await self._writer.write_one(trimming)
        await self._trust.write_for_earlier_hosts()
        await self._completions.mended()
        await self._completions.retold()
        await self._completions.deadlines()
        await self._completions.drains()
        if not state.fleets and not state.gone:
            return False
        revision = state.revision
        view = await self._memory.view_in_slices()
        most = self._memory.settings.moves_at_once
        decided, rests = await self._off_loop.run(lambda: _decided(view, most))
        self.planning = Planning(decided.plans, decided)
        self._memory.budget_waits.clear()
        self._memory.budget_waits.update(uid for uid, use in decided.budgets.items() if use.waiting)
        self._memory.observed.pulse.beat()
        self._writer.refuse_if_past(revision)
        if not self.plans_freely:
            return False
        await self._completions.rollouts(decided)
        await self._completions.orders(decided)
        await self._completions.rebalances(decided)
        # All that lets go is written before anything that takes it over.
        first, rest = decided.in_order()
        for unread in state.unread:  # nothing is written over what may yet be mended
            first.pop(unread, None)
            rest.pop(unread, None)
        with self._memory.begun_anew.writing(decided.taken):
            await self._writer.write(put_assignments(first, decided.causes))
            await self._writer.write(put_assignments(rest, decided.causes))
        await self._completions.deletions()
        return rests and not state.unread


def _decided(view: ClusterView, moves_at_once: int) -> tuple[Pass, bool]:
    """The next step, and whether all is at rest without one."""
    decided = decide(view, moves_at_once)
    return decided, is_at_rest(view, decided)
