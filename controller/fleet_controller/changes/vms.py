"""Changes of VMs that are there: restarted, made anew, stopped, started, retried."""

from __future__ import annotations

import msgspec

from fleet.ranges import IndexSet
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.names import counted
from fleet_controller.core.refusals import named_fleet
from fleet_controller.core.rollouts_and_drains.control import (
    Action,
    Controlled,
    check_indices,
    check_token,
    control,
)
from fleet_controller.core.vm_states import FAILED
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.off_loop import OffLoop
from fleet_controller.leader.wake import PlannerWake
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.records import Write, put_assignments


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
        self, chosen: Chosen, action: Action, actor: str, *, plan_only: bool, token: str
    ) -> Controlled:
        """Do it, or with `plan_only` say what it would do. The line of the audit trail goes with
        the first transaction."""
        asked, audited = self._memory.state.stamp, False

        async def once() -> Controlled:
            nonlocal audited
            revision = self._memory.state.revision
            made = await self._decided(chosen, action, asked)
            if plan_only:
                return made
            check_token(made, token)
            self._writer.refuse_if_past(revision)
            writes = put_assignments(made.assignments)
            if writes and not audited:
                line = self._line(chosen, action, made, actor)
                first = self._writer.first_part([line, *writes])
                await self._writer.write_one(first)
                audited, writes = True, writes[len(first) - 1 :]
            await self._writer.write(writes)
            return made

        made = await self._writer.decide(once)
        if not plan_only and made.indices:
            fleet = named_fleet(self._memory.state.fleets, chosen.fleet).name
            text = f"fleet {fleet}: {action.value} of {len(made.indices):,} VMs"
            self._memory.events.add(f"vms_{action.value}", text, fleet=fleet, actor=actor)
            self._wake.urge()
        return made

    async def _decided(self, chosen: Chosen, action: Action, since: int) -> Controlled:
        fleet = named_fleet(self._memory.state.fleets, chosen.fleet)
        view, indices = self._memory.view(), self._indices(fleet, chosen)
        if action is Action.RETRY:
            indices = indices & self._memory.observed.vectors[fleet.uid].having(FAILED)
        return await self._off_loop.run(lambda: control(view, fleet, action, indices, since))

    def _line(self, chosen: Chosen, action: Action, made: Controlled, actor: str) -> Write:
        fleet = named_fleet(self._memory.state.fleets, chosen.fleet).name
        after = f"{counted(len(made.indices), 'VM')} on {counted(made.hosts, 'host')}"
        return self._writer.audited(f"vms_{action.value}", actor, fleet=fleet, after=after)

    def _indices(self, fleet: FleetRecord, chosen: Chosen) -> IndexSet:
        observed = self._memory.observed
        vector = observed.vectors[fleet.uid]
        within = fleet.wanted if chosen.indices is None else chosen.indices
        check_indices(fleet, within)
        if chosen.host:
            host = self._memory.host(chosen.host).id
            within = vector.held(observed.host(host).number, within)
        return within & vector.having(chosen.state) if chosen.state else within
