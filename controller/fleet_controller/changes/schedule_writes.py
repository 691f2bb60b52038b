"""What is written of a fleet's schedule beside its total or its template."""

from __future__ import annotations

from fleet.template.calendar import BadSchedule, Calendar
from fleet.v1 import types_pb2 as types
from fleet_controller.core.changes import Application
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.schedules.orders import applied, scaled
from fleet_controller.core.schedules.outlook import calendar_of
from fleet_controller.core.schedules.record import ScheduleRecord
from fleet_controller.mirror.records import Write, delete_schedule, put_schedule
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store import keys


def schedule_scaled(
    state: ClusterState, fleet: FleetRecord, actor: str, now: float, seconds: int
) -> list[Write]:
    """Somebody sets the total of the fleet, as it was before."""
    spec = state.spec_of(fleet)
    record = state.schedules.get(fleet.uid)
    if record is None and spec is not None and spec.HasField("schedule"):
        record = ScheduleRecord(fleet.uid, now, fleet.changed_by or actor)
    calendar = _followed(spec)
    made = scaled(fleet.uid, record, fleet.total, actor, now, seconds, calendar)
    return schedule_kept(state, fleet.uid, made)


def schedule_applied(
    state: ClusterState, decided: Application, spec: types.FleetSpec, actor: str, now: float
) -> list[Write]:
    """The fleet has been given a spec; where its schedule is another one it begins anew."""
    fleet, before = decided.fleet, state.spec_of(decided.before)
    if before is not None and before.schedule == spec.schedule:
        return []
    scheduled = bool(spec.schedule.points)
    record = applied(
        fleet.uid,
        state.schedules.get(fleet.uid),
        actor,
        now,
        scheduled=scheduled,
        former=_followed(before),
    )
    return schedule_kept(state, fleet.uid, record)


def _followed(spec: types.FleetSpec | None) -> Calendar | None:
    """None: of a schedule that nobody understands no point has come."""
    try:
        return calendar_of(spec)
    except BadSchedule:
        return None


def schedule_kept(state: ClusterState, uid: str, record: ScheduleRecord | None) -> list[Write]:
    """The record from now on; none where none is needed."""
    if record is not None and record.is_needed:
        return [put_schedule(record)]
    return [delete_schedule(uid)] if state.mod_revision(keys.schedule(uid)) else []
