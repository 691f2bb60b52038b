"""Rebalances as people ask for them: planned, begun, stopped. Planning passes carry them out."""

from __future__ import annotations

from collections.abc import Sequence

from fleet_controller.change_id import change_id
from fleet_controller.core.fleet_plans.tokens import check_token
from fleet_controller.core.model import FleetRecord, RebalanceRecord
from fleet_controller.core.names import counted
from fleet_controller.core.rebalance.model import FleetRebalance, rebalance_token
from fleet_controller.core.rebalance.plan import plan_rebalance
from fleet_controller.core.refusals import Reason, Refused, named_fleet
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.off_loop import OffLoop
from fleet_controller.leader.wake import PlannerWake
from fleet_controller.leader.writer import ChangeWriter, beside_their_lines
from fleet_controller.mirror.records import delete_rebalance, put_rebalance
from fleet_controller.store import keys


class RebalanceChanges:
    """Of one leadership. `name`: of one fleet; empty: all of them. All raise Refused and
    StoreError."""

    def __init__(
        self, memory: LeaderMemory, writer: ChangeWriter, wake: PlannerWake, off_loop: OffLoop
    ) -> None:
        self._memory = memory
        self._writer = writer
        self._wake = wake
        self._off_loop = off_loop

    async def plan(self, name: str, only_bounds: bool) -> Sequence[FleetRebalance]:
        """What it would move; nothing is written."""
        fleets = self._meant(name)
        view = self._memory.view()
        return await self._off_loop.run(
            lambda: plan_rebalance(view, fleets, only_bounds=only_bounds)
        )

    async def begin(
        self, name: str, only_bounds: bool, token: str, actor: str
    ) -> Sequence[FleetRebalance]:
        """Fleets of which nothing is to be moved are left alone."""

        async def once() -> Sequence[FleetRebalance]:
            revision = self._memory.state.revision
            plans = await self.plan(name, only_bounds)
            check_token(token, rebalance_token(plans))
            self._writer.refuse_if_past(revision)
            begun = [one for one in plans if not one.is_over]
            for one in begun:
                self._memory.state.broken.refuse(keys.rebalance(one.fleet.uid))
            now = self._memory.events.now()
            records = [
                RebalanceRecord(
                    one.fleet.uid, only_bounds, one.moves, since_unix=now, actor=actor,
                    change=change_id(),
                )
                for one in begun
            ]  # fmt: skip
            lines = [
                self._writer.audited(
                    "rebalance", actor, fleet=one.fleet.name, after=_to_move(one, only_bounds)
                )
                for one in begun
            ]
            await self._writer.write(beside_their_lines([*map(put_rebalance, records)], lines))
            return plans

        plans = await self._writer.decide(once)
        for one in plans:
            if not one.is_over:
                name = one.fleet.name
                text = f"fleet {name} is being rebalanced: {_to_move(one, only_bounds)}"
                self._memory.events.add("rebalance_started", text, fleet=name, actor=actor)
        self._wake.urge()
        return plans

    async def stop(self, name: str, actor: str) -> list[str]:
        """What has moved stays where it is. The fleets whose rebalance is over by that. Raises
        Refused where the named fleet is not being rebalanced."""

        async def once() -> list[str]:
            state = self._memory.state
            under_way = [one for one in self._meant(name) if one.uid in state.rebalances]
            if name and not under_way:
                raise Refused(Reason.NOTHING_TO_CHANGE, f"fleet {name} is not being rebalanced")
            lines = [
                self._writer.audited("rebalance_stop", actor, fleet=one.name) for one in under_way
            ]
            gone = [delete_rebalance(one.uid) for one in under_way]
            await self._writer.write(beside_their_lines(gone, lines))
            return [one.name for one in under_way]

        stopped = await self._writer.decide(once)
        for fleet in stopped:
            text = f"the rebalance of fleet {fleet} is stopped"
            self._memory.events.add("rebalance_stopped", text, fleet=fleet, actor=actor)
        self._wake.urge()
        return stopped

    def _meant(self, name: str) -> list[FleetRecord]:
        fleets = self._memory.state.fleets
        if not name:
            return [one for one in fleets.values() if not one.deleting]
        fleet = named_fleet(fleets, name)
        if fleet.deleting:
            raise Refused(Reason.FLEET_DELETING, f"fleet {fleet.name} is being deleted")
        return [fleet]


def _to_move(plan: FleetRebalance, only_bounds: bool) -> str:
    only = ", what breaks a bound alone" if only_bounds else ""
    return f"{counted(plan.moves, 'VM')} to move{only}"
