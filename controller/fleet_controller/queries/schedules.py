"""What changes the totals of fleets by time, from the leader's memory."""

from __future__ import annotations

from fleet.template.calendar import UTC_ZONE
from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.model import FleetRecord
from fleet_controller.leader.memory import LeaderMemory


def schedule_status(memory: LeaderMemory, fleet: FleetRecord) -> cluster.ScheduleStatus | None:
    """None: nothing changes the fleet's total by time."""
    state, spec = memory.state, memory.state.spec_of(fleet)
    found, record = memory.outlook(fleet), state.schedules.get(fleet.uid)
    broken = state.broken.why_no_schedule(fleet.uid)
    if found is None:
        return cluster.ScheduleStatus(problem=broken) if broken else None
    answer = cluster.ScheduleStatus(problem=broken or found.problem)
    if spec is not None and spec.HasField("schedule"):
        answer.time_zone = spec.schedule.time_zone or UTC_ZONE
    if found.next is not None and not broken:
        answer.next_unix, answer.next_total = found.next
        answer.next_local = found.next_local
    if record is not None:
        answer.applied_by, answer.by_hand = record.actor, record.by_hand
        if record.timed is not None:
            answer.held_until_unix = record.timed.until
            answer.held_until_local = found.until_local
            answer.held_by, answer.then_total = record.timed.actor, found.then
    return answer
