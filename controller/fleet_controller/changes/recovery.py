"""Recovery, carried out: what an operator confirms is written, and changes are taken again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fleet.identity import MAX_INDEX
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.recovery.freeze import Freeze
from fleet_controller.core.recovery.recovery import RecoveryPlan, plan_recovery
from fleet_controller.core.recovery.view import RecoveryChoice, RecoveryView
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.off_loop import OffLoop
from fleet_controller.leader.store_trust import StoreTrust
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.records import (
    Write,
    delete_freeze,
    delete_orders,
    delete_rebalance,
    put_assignments,
    put_fleet,
    put_freeze,
    put_host,
    put_meta,
    put_rollout,
    put_spec,
)

MAX_REASON = 200  # characters


class Recovery:
    """Of one leadership. All raise Refused and StoreError."""

    def __init__(
        self, memory: LeaderMemory, writer: ChangeWriter, trust: StoreTrust, off_loop: OffLoop
    ) -> None:
        self._trust = trust
        self._memory = memory
        self._writer = writer
        self._off_loop = off_loop

    async def begin(self, reason: str, actor: str) -> None:
        """Freeze changes by an operator's word, so that what hosts have can be looked at."""
        if self._memory.state.freeze is not None:
            raise Refused(Reason.CHANGES_FROZEN, "changes are frozen already")

        async def once() -> None:
            await self._trust.freeze_for(reason[:MAX_REASON], actor)

        await self._writer.decide(once)

    async def plan(self, choice: RecoveryChoice) -> RecoveryPlan:
        """What it would do; nothing is written."""
        whole, view = self._whole_choice(self._freeze(), choice), self._view()
        return await self._off_loop.run(lambda: plan_recovery(view, whole))

    async def recover(self, choice: RecoveryChoice, token: str, actor: str) -> RecoveryPlan:
        """Do it, where all is confirmed; else remember what was, and stay frozen."""

        async def once() -> RecoveryPlan:
            return await self._once(choice, token, actor)

        return await self._writer.decide(once, while_frozen=True)

    async def _once(self, choice: RecoveryChoice, token: str, actor: str) -> RecoveryPlan:
        freeze = self._freeze()
        plan = await self.plan(choice)
        if token and token != plan.token:
            raise Refused(
                Reason.STALE_PLAN, "hosts have come or changed since that plan; look at a new one"
            )
        choice = self._whole_choice(freeze, choice)
        if plan.complete:
            await self._carry_out(plan, freeze, choice, actor)
        else:
            await self._remember(freeze, choice, actor)
        return plan

    async def _carry_out(
        self, plan: RecoveryPlan, freeze: Freeze, choice: RecoveryChoice, actor: str
    ) -> None:
        """In many transactions: changes stay frozen until the last, so that a leader that dies on
        the way is succeeded by one that is asked again."""
        # Templates come first: should this end in between, and a host not be heard the next time,
        # an assignment without its template could not be sent to it.
        stopped: list[Write] = [*map(delete_rebalance, self._memory.state.rebalances)]
        for part in (
            _templates(plan),
            self._changed_fleets(plan, actor),
            [*_records(plan), *(stopped if choice.adopt else ())],
            self._orders(),
        ):
            await self._writer.write(part, thawing=True)
        how = f"adopted {len(plan.assignments)} hosts" if choice.adopt else "confirmed the store's"
        if plan.paused:
            how += f", paused {len(plan.paused)} rollouts"
        if choice.adopt and stopped:
            how += f", stopped {len(stopped)} rebalances"
        line = self._writer.audited(
            "recover", actor, before=freeze.reason,
            after=f"{how}, store generation {plan.meta.generation}",
        )  # fmt: skip
        await self._writer.write_one([put_meta(plan.meta), delete_freeze(), line], thawing=True)
        text = f"changes are taken again: {how}, store generation {plan.meta.generation}"
        self._memory.events.add("changes_thawed", text, actor=actor)

    async def _remember(self, freeze: Freeze, choice: RecoveryChoice, actor: str) -> None:
        kept = msgspec.structs.replace(
            freeze, totals=dict(choice.totals), absent=tuple(sorted(choice.absent))
        )
        if kept == freeze:
            return
        totals = ", ".join(f"{name}={total}" for name, total in sorted(choice.totals.items()))
        gone = ", ".join(kept.absent)
        line = self._writer.audited(
            "recover", actor, after=f"totals {totals or '-'}; absent {gone or '-'}",
            result="accepted; more is to be confirmed",
        )  # fmt: skip
        await self._writer.write_one([put_freeze(kept), line])

    def _freeze(self) -> Freeze:
        freeze = self._memory.state.freeze
        if freeze is None:
            raise Refused(
                Reason.NOT_FROZEN, "changes are not frozen: there is nothing to recover from"
            )
        return freeze

    def _whole_choice(self, freeze: Freeze, choice: RecoveryChoice) -> RecoveryChoice:
        """With what was confirmed before. Raises Refused for what cannot be meant."""
        absent = frozenset(freeze.absent) | choice.absent if choice.adopt else choice.absent
        heard = self._memory.inventory.hosts
        for host in sorted(choice.absent):
            if self._memory.host(host).id in heard:
                raise Refused(
                    Reason.BAD_QUERY, f"host {host} was heard and is there: it is not absent"
                )
        self._check_totals(choice.totals)
        totals = {**freeze.totals, **choice.totals}
        return RecoveryChoice(choice.adopt, totals, absent - heard.keys())

    def _check_totals(self, totals: Mapping[str, int]) -> None:
        heard = {fleet.name for fleet in self._memory.inventory.fleets.values()}
        for name, total in totals.items():
            if name not in self._memory.state.fleets and name not in heard:
                raise Refused(Reason.NO_SUCH_FLEET, f"there is no fleet {name[:60]!r}")
            if not 0 <= total <= MAX_INDEX + 1:
                raise Refused(
                    Reason.BAD_TOTAL, f"a total is from 0 to {MAX_INDEX + 1:,}; {total:,} is not"
                )

    def _view(self) -> RecoveryView:
        state, memory = self._memory.state, self._memory
        return RecoveryView(
            revision=state.revision,
            cluster=state.cluster,
            meta=state.meta,
            hosts=dict(state.hosts),
            guests={host: self._memory.believed(host).capacity.guests for host in state.hosts},
            assignments=dict(state.assignments),
            fleets=dict(state.fleets),
            specs=dict(state.specs),
            inventory=self._memory.inventory.snapshot(),
            ahead=self._memory.hosts_ahead(),
            gone=frozenset(state.gone),
            rollouts=dict(state.rollouts),
            doubtful=self._memory.doubtful_hosts(),
            too_early=memory.began + memory.settings.recover_after - memory.clock(),
        )

    def _changed_fleets(self, plan: RecoveryPlan, actor: str) -> list[Write]:
        have = self._memory.state.fleets
        found = (one.record for one in plan.fleets if not one.problem)
        return [_put_changed(one, actor) for one in found if one != have.get(one.name)]

    def _orders(self) -> list[Write]:
        """VMs that were to be restarted are left alone, as rollouts are paused."""
        return [delete_orders(uid) for uid in self._memory.state.orders]


def _put_changed(fleet: FleetRecord, actor: str) -> Write:
    return put_fleet(msgspec.structs.replace(fleet, changed_by=actor))


def _templates(plan: RecoveryPlan) -> list[Write]:
    return [put_spec(*key, spec) for key, spec in plan.specs.items()]


def _records(plan: RecoveryPlan) -> Iterable[Write]:
    yield from put_assignments(plan.assignments)
    yield from map(put_host, (*plan.lost, *plan.returned))
    yield from map(put_rollout, plan.paused)
