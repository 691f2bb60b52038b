"""Recovery, carried out: what an operator confirms is written, and changes are taken again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fleet.identity import MAX_INDEX
from fleet_controller.change_deadline import check_change_deadline
from fleet_controller.core.recovery.freeze import Freeze
from fleet_controller.core.recovery.recovery import RecoveryPlan, plan_recovery
from fleet_controller.core.recovery.view import RecoveryView, Wish
from fleet_controller.core.refusals import Reason, Refused, known_host
from fleet_controller.leader.reign import Reign
from fleet_controller.mirror.committer import Outdated, Write
from fleet_controller.store import keys
from fleet_controller.store.codec import encode, encode_spec
from fleet_controller.store.port import Delete, Put

_ATTEMPTS = 5


class Recovery:
    """All raise Refused and StoreError."""

    def __init__(self, reign: Reign) -> None:
        self._reign = reign

    async def plan(self, wish: Wish) -> RecoveryPlan:
        """What it would do; nothing is written."""
        wish = self._whole_wish(self._freeze(), wish)
        view = self._view()
        return await self._reign.in_executor(lambda: plan_recovery(view, wish))

    async def recover(self, wish: Wish, token: str, actor: str) -> RecoveryPlan:
        """Do it, where all is confirmed; else remember what was, and stay frozen."""
        async with self._reign.changing:
            check_change_deadline(self._reign.now())
            for _ in range(_ATTEMPTS - 1):
                try:
                    return await self._once(wish, token, actor)
                except Outdated:
                    continue
            return await self._once(wish, token, actor)

    async def _once(self, wish: Wish, token: str, actor: str) -> RecoveryPlan:
        freeze = self._freeze()
        plan = await self.plan(wish)
        if token and token != plan.token:
            raise Refused(
                Reason.STALE_PLAN, "hosts have come or changed since that plan; look at a new one"
            )
        wish = self._whole_wish(freeze, wish)
        if plan.complete:
            await self._carry_out(plan, freeze, wish, actor)
        else:
            await self._remember(freeze, wish, actor)
        return plan

    async def _carry_out(self, plan: RecoveryPlan, freeze: Freeze, wish: Wish, actor: str) -> None:
        """In many transactions: changes stay frozen until the last, so that a leader that dies on
        the way is succeeded by one that is asked again."""
        committer = self._reign.committer
        # A shard without its template could be told to nobody, should this end in between and its
        # host not be heard the next time.
        await committer.write(_templates(plan), thawing=True)
        await committer.write(_fleets(plan, self._reign, actor), thawing=True)
        await committer.write(list(_writes(plan)), thawing=True)
        how = f"adopted {len(plan.assignments)} hosts" if wish.adopt else "confirmed the store's"
        if plan.paused:
            how += f", paused {len(plan.paused)} rollouts"
        told = self._reign.audit.entry(
            "recover", actor, before=freeze.reason,
            after=f"{how}, store generation {plan.meta.generation}",
        )  # fmt: skip
        last: list[Write] = [Put(keys.META, encode(plan.meta)), Delete(keys.FREEZE), told]
        await committer.write_one(last, thawing=True)
        text = f"changes are taken again: {how}, store generation {plan.meta.generation}"
        self._reign.events.add("changes_thawed", text, actor=actor)

    async def _remember(self, freeze: Freeze, wish: Wish, actor: str) -> None:
        kept = msgspec.structs.replace(
            freeze, totals=dict(wish.totals), absent=tuple(sorted(wish.absent))
        )
        if kept == freeze:
            return
        totals = ", ".join(f"{name}={total}" for name, total in sorted(wish.totals.items()))
        gone = ", ".join(kept.absent)
        told = self._reign.audit.entry(
            "recover", actor, after=f"totals {totals or '-'}; absent {gone or '-'}",
            result="accepted; more is to be confirmed",
        )  # fmt: skip
        await self._reign.committer.write_one([Put(keys.FREEZE, encode(kept)), told])

    def _freeze(self) -> Freeze:
        if self._reign.frozen is None:
            raise Refused(
                Reason.NOT_FROZEN, "changes are not frozen: there is nothing to recover from"
            )
        return self._reign.frozen

    def _whole_wish(self, freeze: Freeze, wish: Wish) -> Wish:
        """With what was confirmed before. Raises Refused for what cannot be meant."""
        absent = frozenset(freeze.absent) | wish.absent if wish.adopt else wish.absent
        heard = self._reign.inventory.hosts
        for host in sorted(wish.absent):
            known_host(self._reign.state.hosts, host)
            if host in heard:
                raise Refused(
                    Reason.BAD_QUERY, f"host {host} was heard and is there: it is not absent"
                )
        self._check_totals(wish.totals)
        return Wish(wish.adopt, {**freeze.totals, **wish.totals}, absent - heard.keys())

    def _check_totals(self, totals: Mapping[str, int]) -> None:
        told = {fleet.name for fleet in self._reign.inventory.fleets.values()}
        for name, total in totals.items():
            if name not in self._reign.state.fleets and name not in told:
                raise Refused(Reason.NO_SUCH_FLEET, f"there is no fleet {name[:60]!r}")
            if not 0 <= total <= MAX_INDEX + 1:
                raise Refused(
                    Reason.BAD_TOTAL, f"a total is from 0 to {MAX_INDEX + 1:,}; {total:,} is not"
                )

    def _view(self) -> RecoveryView:
        state = self._reign.state
        return RecoveryView(
            revision=state.revision,
            cluster=state.cluster,
            meta=state.meta,
            hosts=dict(state.hosts),
            assignments=dict(state.assignments),
            fleets=dict(state.fleets),
            specs=dict(state.specs),
            inventory=self._reign.inventory.copy(),
            ahead=self._reign.ahead(),
            gone=frozenset(state.gone),
            rollouts=dict(state.rollouts),
        )


def _templates(plan: RecoveryPlan) -> list[Write]:
    return [Put(keys.spec(*key), encode_spec(spec)) for key, spec in plan.specs.items()]


def _fleets(plan: RecoveryPlan, reign: Reign, actor: str) -> list[Write]:
    changed = [
        msgspec.structs.replace(found.record, changed_by=actor)
        for found in plan.fleets
        if not found.problem and found.record != reign.state.fleets.get(found.record.name)
    ]
    return [Put(keys.fleet(fleet.name), encode(fleet)) for fleet in changed]


def _writes(plan: RecoveryPlan) -> Iterable[Write]:
    for host, assignment in plan.assignments.items():
        yield Put(keys.assignment(host), encode(assignment))
    for record in (*plan.lost, *plan.returned):
        yield Put(keys.host(record.id), encode(record))
    for rollout in plan.paused:
        yield Put(keys.rollout(rollout.fleet), encode(rollout))
