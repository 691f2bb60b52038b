"""Changes of VMs that are there: restarted, made anew, stopped, started, retried."""

from __future__ import annotations

import msgspec
from msgspec import structs

from fleet.ranges import IndexSet
from fleet_controller.change_id import change_id
from fleet_controller.core.model import FleetRecord, VmOrder
from fleet_controller.core.names import counted
from fleet_controller.core.refusals import Reason, Refused, named_fleet
from fleet_controller.core.rollouts_and_drains.control import (
    Action,
    Controlled,
    check_indices,
    check_token,
    control,
)
from fleet_controller.core.rollouts_and_drains.disruption import Bounds, bounds_of_spec
from fleet_controller.core.rollouts_and_drains.vm_orders import (
    IN_WAVES,
    left_of,
    ordered,
    orders_of,
    without,
)
from fleet_controller.core.vm_states import FAILED
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.off_loop import OffLoop
from fleet_controller.leader.wake import PlannerWake
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.records import Write, delete_orders, put_assignments, put_orders
from fleet_controller.store import keys


class Chosen(msgspec.Struct, frozen=True):
    """Which VMs of a fleet are meant: those that pass all filters. `state`: a VmState, 0: any."""

    fleet: str
    indices: IndexSet | None = None
    state: int = 0
    host: str = ""


class VmChanges:
    """Of one leadership. All raise Refused and StoreError."""

    def __init__(
        self, memory: LeaderMemory, writer: ChangeWriter, wake: PlannerWake, off_loop: OffLoop
    ) -> None:
        self._memory = memory
        self._writer = writer
        self._wake = wake
        self._off_loop = off_loop

    async def control(
        self,
        chosen: Chosen,
        action: Action,
        actor: str,
        *,
        plan_only: bool,
        token: str,
        ignore_budget: bool = False,
    ) -> Controlled:
        """Do it, or with `plan_only` say what it would do. The line of the audit trail goes with
        the first transaction. Where the fleet has a disruption budget, restarts and VMs made anew
        are ordered, and passes carry that out."""
        asked, audited = self._memory.state.stamp, False

        async def once() -> Controlled:
            nonlocal audited
            revision = self._memory.state.revision
            made = await self._decided(chosen, action, asked)
            fleet = named_fleet(self._memory.state.fleets, chosen.fleet)
            bounds = None if ignore_budget else self._bounds(fleet, action)
            if bounds:
                made = structs.replace(made, at_once=bounds.most)
            if plan_only:
                return made
            check_token(made, token)
            self._writer.refuse_if_past(revision)
            if bounds:
                await self._order(fleet, action, made, actor)
                return made
            writes = put_assignments(made.assignments)
            if writes and not audited:
                line = self._line(fleet, action, made, actor, beyond=ignore_budget)
                first = self._writer.first_part([line, *writes])
                await self._writer.write_one(first)
                audited, writes = True, writes[len(first) - 1 :]
            await self._writer.write(writes)
            return made

        made = await self._writer.decide(once)
        if not plan_only and made.indices:
            fleet = named_fleet(self._memory.state.fleets, chosen.fleet).name
            waves = f", at most {made.at_once:,} at once" if made.at_once else ""
            text = f"fleet {fleet}: {action.value} of {len(made.indices):,} VMs{waves}"
            self._memory.events.add(f"vms_{action.value}", text, fleet=fleet, actor=actor)
            self._wake.urge()
        return made

    async def _decided(self, chosen: Chosen, action: Action, since: int) -> Controlled:
        fleet = named_fleet(self._memory.state.fleets, chosen.fleet)
        view, indices = self._memory.view(), self._indices(fleet, chosen)
        if action is Action.RETRY:
            indices = indices & self._memory.observed.vectors[fleet.uid].having(FAILED)
        return await self._off_loop.run(lambda: control(view, fleet, action, indices, since))

    async def cancel(self, name: str, action: Action, actor: str) -> IndexSet:
        """What is left of an order is not done. The VMs that are left."""

        async def once() -> IndexSet:
            state = self._memory.state
            fleet = named_fleet(state.fleets, name)
            state.broken.refuse(keys.orders(fleet.uid))
            record = state.orders.get(fleet.uid)
            order = dict(orders_of(record)).get(action) if record else None
            if record is None or order is None:
                raise Refused(
                    Reason.NOTHING_TO_CHANGE,
                    f"no {action.value} of VMs of {fleet.name} waits for its disruption budget",
                )
            left = left_of(self._memory.view(), fleet.uid, action, order)
            kept = without(record, action)
            line = self._writer.audited(
                f"vms_{action.value}_cancelled", actor, fleet=fleet.name,
                after=f"{counted(len(left), 'VM')} left as they are",
            )  # fmt: skip
            await self._writer.write_one(
                [put_orders(kept) if kept else delete_orders(fleet.uid), line]
            )
            return left

        left = await self._writer.decide(once)
        fleet = named_fleet(self._memory.state.fleets, name).name
        text = (
            f"fleet {fleet}: the {action.value} is cancelled, "
            f"{counted(len(left), 'VM')} left as they are"
        )
        self._memory.events.add(f"vms_{action.value}_cancelled", text, fleet=fleet, actor=actor)
        self._wake.urge()
        return left

    def _bounds(self, fleet: FleetRecord, action: Action) -> Bounds | None:
        """What bounds it, where anything does."""
        spec = self._memory.state.spec_of(fleet)
        if action not in IN_WAVES or spec is None:
            return None
        return bounds_of_spec(spec, fleet.total)

    async def _order(
        self, fleet: FleetRecord, action: Action, made: Controlled, actor: str
    ) -> None:
        if not made.indices:
            return
        state = self._memory.state
        state.broken.refuse(keys.orders(fleet.uid))
        order = VmOrder(made.indices, state.stamp, self._memory.events.now(), actor, change_id())
        record = ordered(self._memory.view(), fleet, action, order)
        line = self._line(fleet, action, made, actor)
        await self._writer.write_one([put_orders(record), line])

    def _line(
        self,
        fleet: FleetRecord,
        action: Action,
        made: Controlled,
        actor: str,
        *,
        beyond: bool = False,
    ) -> Write:
        after = f"{counted(len(made.indices), 'VM')} on {counted(made.hosts, 'host')}"
        if made.at_once:
            after += f", at most {made.at_once:,} at once"
        elif beyond and self._bounds(fleet, action):
            after += ", beyond the disruption budget"
        return self._writer.audited(f"vms_{action.value}", actor, fleet=fleet.name, after=after)

    def _indices(self, fleet: FleetRecord, chosen: Chosen) -> IndexSet:
        observed = self._memory.observed
        vector = observed.vectors[fleet.uid]
        within = fleet.wanted if chosen.indices is None else chosen.indices
        check_indices(fleet, within)
        if chosen.host:
            host = self._memory.host(chosen.host).id
            within = vector.held(observed.host(host).number, within)
        return within & vector.having(chosen.state) if chosen.state else within
