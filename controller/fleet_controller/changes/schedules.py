"""What is due by time is carried out: each point is one change, told and audited as such."""

from __future__ import annotations

import msgspec

from fleet.template.calendar import BadSchedule, local
from fleet_controller.changes.fleets import FleetChanges
from fleet_controller.changes.schedule_writes import schedule_kept
from fleet_controller.core.changes import Scaling
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.names import counted
from fleet_controller.core.refusals import Refused
from fleet_controller.core.schedules.due import Cause, Due, due
from fleet_controller.core.schedules.outlook import calendar_of
from fleet_controller.core.schedules.record import ScheduleRecord, Unfit
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.wake import PlannerWake
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.records import Write
from fleet_controller.store import keys

_WHY = 300  # characters


class ScheduleChanges:
    """Of one leadership."""

    def __init__(
        self, memory: LeaderMemory, writer: ChangeWriter, fleets: FleetChanges, wake: PlannerWake
    ) -> None:
        self._memory = memory
        self._writer = writer
        self._fleets = fleets
        self._wake = wake

    def due(self, fleet: FleetRecord) -> Due | None:
        """What is due now of the fleet. Of a schedule that nobody understands nothing is."""
        state = self._memory.state
        if fleet.deleting or keys.schedule(fleet.uid) in state.broken:
            return None
        try:
            calendar = calendar_of(state.spec_of(fleet))
        except BadSchedule:
            calendar = None
            if fleet.uid not in state.schedules:
                return None
        return due(
            fleet.uid, state.schedules.get(fleet.uid), calendar, fleet.total,
            self._memory.events.now(), fleet.changed_by,
        )  # fmt: skip

    async def carry_out(self, name: str) -> None:
        """Whatever is due of the fleet. Raises Outdated, StoreError; Refused while nothing is
        changed."""

        async def once() -> str:
            fleet = self._memory.state.fleets.get(name)
            found = self.due(fleet) if fleet else None
            if fleet is None or found is None:
                return ""
            if found.total is None or found.total == fleet.total:
                await self._writer.write_one(self._kept(fleet, found.record))
                self._tell_of_record(fleet, found)
                return ""
            try:
                return await self._scale(fleet, found, found.total)
            except Refused as refused:
                await self._note_unfit(fleet, found, found.total, str(refused)[:_WHY])
                return ""

        if await self._writer.decide(once, attempts=2):
            self._wake.urge()

    async def _scale(self, fleet: FleetRecord, found: Due, total: int) -> str:
        """As much of it as fits is placed, and the rest as soon as it does."""
        actor = f"schedule for {found.actor or 'somebody'}"
        self._fleets.check_growth(msgspec.structs.replace(fleet, total=total))
        revision = self._memory.state.revision
        scaling = await self._fleets.plan(fleet.name, total, actor)
        self._writer.refuse_if_past(revision)
        line = self._writer.audited(
            "schedule", actor, fleet=fleet.name, before=str(fleet.total), after=str(total)
        )
        await self._fleets.write_scaling(scaling, [*self._kept(fleet, found.record), line])
        self._tell_of_scaling(scaling, found, actor)
        return actor

    def _kept(self, fleet: FleetRecord, record: ScheduleRecord) -> list[Write]:
        return schedule_kept(self._memory.state, fleet.uid, record)

    async def _note_unfit(self, fleet: FleetRecord, found: Due, total: int, why: str) -> None:
        before = self._memory.state.schedules.get(fleet.uid)
        unfit = Unfit(total, found.at, why, found.actor)
        if before is not None and before.unfit == unfit:
            return
        record = msgspec.structs.replace(found.record, unfit=unfit)
        await self._writer.write_one(self._kept(fleet, record))
        text = f"fleet {fleet.name} stays at {_vms(fleet.total)}: {total:,} are due, and {why}"
        self._memory.events.add("schedule_unfit", text, fleet=fleet.name)

    def _tell_of_scaling(self, scaling: Scaling, found: Due, actor: str) -> None:
        now, fleet = self._memory.events.now(), scaling.fleet
        text = f"fleet {fleet.name}: {scaling.before.total:,} -> {_vms(fleet.total)}, "
        text += "a total for a time is over" if found.cause is Cause.OVER else "by its schedule"
        if late := found.late(now):
            text += f", {_for(late)} late: it was due at {local(found.at)}"
        if found.passed_over:
            text += "; points before it are passed over"
        self._memory.events.add("fleet_scaled", text, fleet=fleet.name, actor=actor)
        short = [one for one in scaling.plan.unplaced if one.reason != "releasing"]
        if short and fleet.total > scaling.before.total:
            count = sum(len(one.indices) for one in short)
            fit = "fits" if count == 1 else "fit"
            text = f"fleet {fleet.name}: {_vms(count)} of its schedule {fit} nowhere yet: "
            text += short[0].message
            self._memory.events.add("schedule_unfit", text, fleet=fleet.name)

    def _tell_of_record(self, fleet: FleetRecord, found: Due) -> None:
        if found.cause is not Cause.SET_BACK:
            return
        text = (
            f"fleet {fleet.name}: the clock was set back by more than a day; its schedule goes on "
            "from the present time"
        )
        self._memory.events.add("schedule_clock", text, fleet=fleet.name)


def _vms(count: int) -> str:
    return counted(count, "VM")


def _for(seconds: float) -> str:
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
