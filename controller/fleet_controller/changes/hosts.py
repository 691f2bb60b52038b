"""What operators ask of hosts and VMs that are there: drains, removals, power, rollouts.

Decided by pure functions and written by the leader, as in `operations`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fleet.ranges import IndexSet
from fleet_controller.changes.fleets import Operations
from fleet_controller.core.model import FleetRecord, HostRecord, HostView
from fleet_controller.core.refusals import Reason, Refused, known_host, named_fleet
from fleet_controller.core.rollouts_and_drains import drain_progress, rollout_orders
from fleet_controller.core.rollouts_and_drains.control import (
    Action,
    Controlled,
    check_indices,
    check_token,
    control,
)
from fleet_controller.core.rollouts_and_drains.drain_progress import DrainProgress
from fleet_controller.core.rollouts_and_drains.rollout import described
from fleet_controller.core.rollouts_and_drains.rollout_orders import Ordered, Wish
from fleet_controller.leader.reign import Reign, assignment_writes
from fleet_controller.mirror.committer import Write, parts
from fleet_controller.mirror.state import NOTHING
from fleet_controller.queries import drains as drain_queries
from fleet_controller.store import keys
from fleet_controller.store.codec import encode
from fleet_controller.store.port import Delete, Put

# What has been done to a rollout, by what was asked of it.
_DONE = {
    "start": "started",
    "undo": "started, which undoes the one before",
    "pause": "paused",
    "resume": "resumed",
    "abort": "aborted",
}
_KINDS = {
    "start": "rollout_started",
    "undo": "rollout_undone",
    "pause": "rollout_paused",
    "resume": "rollout_resumed",
    "abort": "rollout_aborted",
}


def _check_lost(host_id: str, record: HostRecord) -> None:
    if not record.lost:
        raise Refused(
            Reason.HOST_NOT_LOST,
            f"{host_id} is not declared lost, so its VMs may run: only a lost host is drained by "
            "force",
        )


def _counted(value: int, noun: str) -> str:
    """1 host, 4,480 hosts."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


class Chosen(msgspec.Struct, frozen=True):
    """Which VMs of a fleet are meant: those that pass all filters. `state`: a VmState, 0: any."""

    fleet: str
    indices: IndexSet | None = None
    state: int = 0
    host: str = ""


class Upkeep:
    """What may be asked of the leader. All raise Refused and StoreError."""

    def __init__(self, reign: Reign, operations: Operations) -> None:
        self._reign = reign
        self._until_written = operations.until_written

    # Hosts that go

    async def drain(self, host_id: str, actor: str) -> None:
        """Move everything off a host. The planning passes do it."""
        record = self._host(host_id)
        if record.lost:
            raise Refused(
                Reason.HOST_LOST,
                f"{host_id} is declared lost: its VMs are placed elsewhere without it; --force "
                "gives up those that wait for it",
            )
        await self._set_draining(host_id, True, actor)
        if not record.draining:
            self._event("host_draining", f"{host_id} is being drained", host_id, actor)
        self._reign.wake()

    async def cancel_drain(self, host_id: str, actor: str) -> None:
        """What has moved stays where it is; the host takes VMs again."""
        was_draining = self._host(host_id).draining
        await self._set_draining(host_id, False, actor)
        if was_draining:
            text = f"{host_id} is drained no more"
            self._event("host_drain_cancelled", text, host_id, actor)
        self._reign.wake()

    async def give_up(self, host_id: str, actor: str) -> None:
        """All that a lost host has is placed elsewhere, what would have waited for it too."""

        async def once() -> None:
            record = self._host(host_id)
            _check_lost(host_id, record)
            drained = msgspec.structs.replace(record, draining=True)
            view = self._host_view(host_id)
            count = drain_progress.count_given_up(view.assignment, view.released)
            told = self._reign.audit.entry(
                "drain", actor, host=host_id, after=f"{_counted(count, 'VM')} given up"
            )
            writes = [Put(keys.host(host_id), encode(drained)), self._forsaken(host_id), told]
            await self._reign.committer.write_one(writes)

        await self._until_written(once)
        self._event("host_given_up", f"all VMs of {host_id} are given up", host_id, actor)
        self._reign.wake()

    async def remove(self, host_id: str, force: bool, actor: str) -> int:
        """The host is known no more; how many VMs may still run there."""

        async def once() -> int:
            self._host(host_id)
            view = self._host_view(host_id)
            writes: list[Write] = [Delete(keys.host(host_id))]
            count = drain_progress.count_given_up(view.assignment, view.released)
            if count and force:
                drain_progress.check_may_be_given_up(host_id, view)
                writes.append(self._forsaken(host_id))
            else:
                drain_progress.check_removable(host_id, view)
                if host_id in self._reign.state.assignments:
                    writes.append(Delete(keys.assignment(host_id)))
            after = f"{_counted(count, 'VM')} given up" if count else ""
            writes.append(self._reign.audit.entry("remove", actor, host=host_id, after=after))
            await self._reign.committer.write_one(writes)
            return count

        count = await self._until_written(once)
        left = f"; {count:,} VMs may still run there" if count else ""
        self._event("host_removed", f"{host_id} is removed{left}", host_id, actor)
        self._reign.wake()
        return count

    async def planned_drain(self, host_id: str, force: bool) -> DrainProgress:
        """What a drain would do; nothing is written. Raises Refused."""
        record = self._host(host_id)
        if force:
            _check_lost(host_id, record)
        view = self._reign.view()
        return await self._reign.in_executor(lambda: drain_progress.planned_drain(view, host_id))

    def drained(self, host_id: str) -> DrainProgress:
        """How far a drain is, from the assignments. Raises Refused."""
        self._host(host_id)
        return drain_queries.departure_of(self._reign, host_id)

    def check_draining(self, host_id: str) -> None:
        """Raises Refused once the host is drained no more, for whoever waits for it."""
        if not self._host(host_id).draining:
            raise Refused(
                Reason.DRAIN_CANCELLED,
                f"the drain of {host_id} was cancelled meanwhile: {self.drained(host_id).left:,} "
                "VMs are left there",
            )

    def hindrance_ahead(self, host_id: str, force: bool) -> str:
        """What would keep a drain of the host from beginning; empty where nothing would."""
        if self._host(host_id).lost and not force:
            return (
                f"{host_id} is declared lost, and is not drained: its VMs are placed elsewhere "
                "without it; --force gives up those that wait for it"
            )
        host = self._host_view(host_id)
        if host.reachable or host.record.lost:
            return ""
        return (
            f"{host_id} cannot be reached (silent for {self._reign.links.age(host_id):.0f} s): "
            "they move when it is back, or are replaced when it is declared lost"
        )

    # VMs

    async def control(
        self, chosen: Chosen, action: Action, actor: str, *, plan_only: bool, token: str
    ) -> Controlled:
        """Do it, or with `plan_only` say what it would do. The line that tells it goes with the
        first transaction."""
        asked, told = self._reign.state.stamp, False

        async def once() -> Controlled:
            nonlocal told
            revision = self._reign.state.revision
            fleet = named_fleet(self._reign.state.fleets, chosen.fleet)
            view, indices = self._reign.view(), self._indices(fleet, chosen)
            made = await self._reign.in_executor(
                lambda: control(view, fleet, action, indices, asked)
            )
            if plan_only:
                return made
            check_token(made, token)
            self._reign.committer.refuse_if_past(revision)
            writes: list[Write] = [*assignment_writes(made.assignments)]
            if writes and not told:
                what = f"{_counted(len(made.indices), 'VM')} on {_counted(made.hosts, 'host')}"
                line = self._reign.audit.entry(
                    f"vms_{action.value}", actor, fleet=fleet.name, after=what
                )
                first = parts([line, *writes])[0]
                await self._reign.committer.write_one(first)
                told, writes = True, writes[len(first) - 1 :]
            await self._reign.committer.write(writes)
            return made

        made = await self._until_written(once)
        if not plan_only and made.indices:
            fleet = named_fleet(self._reign.state.fleets, chosen.fleet)
            what = f"fleet {fleet.name}: {action.value} of {len(made.indices):,} VMs"
            self._reign.events.add(f"vms_{action.value}", what, fleet=fleet.name, actor=actor)
            self._reign.wake()
        return made

    # Rollouts

    async def start_rollout(self, name: str, wish: Wish, actor: str, *, plan_only: bool) -> Ordered:
        return await self._order(
            name, actor, "start", plan_only,
            lambda fleet: rollout_orders.start(
                self._reign.view(), fleet, wish, actor, self._reign.events.now()
            ),
        )  # fmt: skip

    async def undo_rollout(self, name: str, actor: str, *, plan_only: bool) -> Ordered:
        return await self._order(
            name, actor, "undo", plan_only,
            lambda fleet: rollout_orders.undo(
                self._reign.view(), fleet, actor, self._reign.events.now()
            ),
        )  # fmt: skip

    async def turn_rollout(self, name: str, action: str, actor: str, *, plan_only: bool) -> Ordered:
        """`action`: pause, resume or abort."""
        return await self._order(
            name, actor, action, plan_only,
            lambda fleet: rollout_orders.turn(self._reign.view(), fleet, action, actor),
        )  # fmt: skip

    async def _order(
        self,
        name: str,
        actor: str,
        action: str,
        plan_only: bool,
        decide: Callable[[FleetRecord], Ordered],
    ) -> Ordered:
        async def once() -> Ordered:
            fleet = named_fleet(self._reign.state.fleets, name)
            ordered = decide(fleet)
            if not plan_only:
                have = self._reign.state.rollouts.get(fleet.uid)
                told = self._reign.audit.entry(
                    f"rollout_{action}", actor, fleet=fleet.name,
                    before=have.state if have else "", after=described(ordered.record),
                )  # fmt: skip
                writes = [Put(keys.rollout(fleet.uid), encode(ordered.record)), told]
                if ordered.fleet != fleet:
                    writes.append(Put(keys.fleet(fleet.name), encode(ordered.fleet)))
                await self._reign.committer.write_one(writes)
            return ordered

        ordered = await self._until_written(once)
        if not plan_only:
            fleet, done = ordered.fleet.name, _DONE[action]
            what = f"the rollout of {fleet} to generation {ordered.record.to_generation} is {done}"
            self._reign.events.add(_KINDS[action], what, fleet=fleet, actor=actor)
            self._reign.wake()
        return ordered

    # ---- the rest ------------------------------------------------------------------------

    async def _set_draining(self, host_id: str, draining: bool, actor: str) -> None:
        async def once() -> None:
            have = self._host(host_id)
            if have.draining == draining:
                return
            record = msgspec.structs.replace(have, draining=draining, drained=False)
            left = drain_progress.drain_progress_of(self._host_view(host_id), {}).left
            action, after = ("drain", "to move") if draining else ("undrain", "still there")
            told = self._reign.audit.entry(
                action, actor, host=host_id, after=f"{_counted(left, 'VM')} {after}"
            )
            await self._reign.committer.write_one([Put(keys.host(host_id), encode(record)), told])

        await self._until_written(once)

    def _host(self, host_id: str) -> HostRecord:
        return known_host(self._reign.state.hosts, host_id)

    def _host_view(self, host_id: str) -> HostView:
        return self._reign.host_view(host_id, self._host(host_id))

    def _forsaken(self, host_id: str) -> Put:
        state = self._reign.state
        have = state.assignments.get(host_id, NOTHING)
        released = self._reign.observed.host(host_id).released
        buried = drain_progress.released_for_good(have, released, state.stamp)
        return Put(keys.assignment(host_id), encode(buried))

    def _indices(self, fleet: FleetRecord, chosen: Chosen) -> IndexSet:
        vector = self._reign.observed.vectors[fleet.uid]
        within = fleet.wanted if chosen.indices is None else chosen.indices
        check_indices(fleet, within)
        if chosen.host:
            self._host(chosen.host)
            within = vector.held(self._reign.observed.host(chosen.host).number, within)
        return within & vector.having(chosen.state) if chosen.state else within

    def _event(self, kind: str, message: str, host: str, actor: str) -> None:
        self._reign.events.add(kind, message, host=host, actor=actor)
