"""Rollouts as people ask for them: begun, promoted, held, undone, paused, resumed, aborted."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from fleet_controller.change_id import change_id
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.people.quotas import check_growth
from fleet_controller.core.refusals import named_fleet
from fleet_controller.core.rollouts_and_drains import rollout_orders
from fleet_controller.core.rollouts_and_drains.rollout import described
from fleet_controller.core.rollouts_and_drains.rollout_orders import (
    Ordered,
    RolloutAction,
    RolloutOptions,
)
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.wake import PlannerWake
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.records import put_fleet, put_rollout

# What has been done, in the words of the event, and the event's kind.
_DONE = {
    RolloutAction.START: ("started", "rollout_started"),
    RolloutAction.UNDO: ("started, which undoes the one before", "rollout_undone"),
    RolloutAction.PAUSE: ("paused", "rollout_paused"),
    RolloutAction.RESUME: ("resumed", "rollout_resumed"),
    RolloutAction.ABORT: ("aborted", "rollout_aborted"),
    RolloutAction.PROMOTE: ("promoted", "rollout_promoted"),
    RolloutAction.HOLD: ("held: both generations stay side by side", "rollout_held"),
    RolloutAction.BACK: ("started, back to a generation that was there", "rollout_started"),
}


class RolloutChanges:
    """Of one leadership; with `plan_only` nothing is written. All raise Refused and StoreError."""

    def __init__(self, memory: LeaderMemory, writer: ChangeWriter, wake: PlannerWake) -> None:
        self._memory = memory
        self._writer = writer
        self._wake = wake

    async def start(
        self, name: str, options: RolloutOptions, actor: str, *, plan_only: bool
    ) -> Ordered:
        def decided(fleet: FleetRecord) -> Ordered:
            now = self._memory.events.now()
            return rollout_orders.start(self._memory.view(), fleet, options, actor, now)

        return await self._order(name, actor, RolloutAction.START, plan_only, decided)

    async def undo(self, name: str, actor: str, *, plan_only: bool) -> Ordered:
        def decided(fleet: FleetRecord) -> Ordered:
            now = self._memory.events.now()
            return rollout_orders.undo(self._memory.view(), fleet, actor, now)

        return await self._order(name, actor, RolloutAction.UNDO, plan_only, decided)

    async def back(
        self, name: str, options: RolloutOptions, actor: str, *, plan_only: bool
    ) -> Ordered:
        def decided(fleet: FleetRecord) -> Ordered:
            now = self._memory.events.now()
            return rollout_orders.back(self._memory.view(), fleet, options, actor, now)

        return await self._order(name, actor, RolloutAction.BACK, plan_only, decided)

    async def turn(
        self,
        name: str,
        action: RolloutAction,
        actor: str,
        generation: int = 0,
        *,
        plan_only: bool,
    ) -> Ordered:
        """`action`: pause, resume, abort, promote or hold; `generation`: as rollout_orders.turn
        has it."""

        def decided(fleet: FleetRecord) -> Ordered:
            return rollout_orders.turn(self._memory.view(), fleet, action, actor, generation)

        return await self._order(name, actor, action, plan_only, decided)

    async def _order(
        self,
        name: str,
        actor: str,
        action: RolloutAction,
        plan_only: bool,
        decide: Callable[[FleetRecord], Ordered],
    ) -> Ordered:
        async def once() -> Ordered:
            fleet = named_fleet(self._memory.state.fleets, name)
            ordered = decide(fleet)
            state = self._memory.state
            check_growth(state.fleets, state.specs, ordered.fleet, state.people, state.roles)
            if not plan_only:
                await self._write(fleet, ordered, action, actor)
            return ordered

        ordered = await self._writer.decide(once)
        if not plan_only:
            fleet, (done, kind) = ordered.fleet.name, _DONE[action]
            text = f"the rollout of {fleet} to generation {ordered.record.to_generation} is {done}"
            self._memory.events.add(kind, text, fleet=fleet, actor=actor)
            self._wake.urge()
        return ordered

    async def _write(
        self, fleet: FleetRecord, ordered: Ordered, action: RolloutAction, actor: str
    ) -> None:
        have = self._memory.state.rollouts.get(fleet.uid)
        after = described(ordered.record)
        if action is RolloutAction.HOLD:
            after += f"; further VMs get generation {ordered.fleet.generation}"
        line = self._writer.audited(
            f"rollout_{action}", actor, fleet=fleet.name,
            before=have.state if have else "", after=after,
        )  # fmt: skip
        change = change_id()
        writes = [put_rollout(structs.replace(ordered.record, change=change)), line]
        if ordered.fleet != fleet:
            writes.append(put_fleet(structs.replace(ordered.fleet, change=change)))
        await self._writer.write_one(writes)
