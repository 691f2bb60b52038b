"""What changes a fleet's total by time, as JSON and as text. Pure: messages in, values out."""

from __future__ import annotations

from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import printable
from fleetctl.output import counted, number


def schedule_json(one: cluster.ScheduleStatus) -> dict[str, Any]:
    """Times are seconds since 1970."""
    return {
        "time_zone": one.time_zone or None,
        "next": _point(one.next_unix, one.next_local, one.next_total),
        "applied_by": one.applied_by or None,
        "held_until": _point(one.held_until_unix, one.held_until_local, one.then_total),
        "held_by": one.held_by or None,
        "by_hand": one.by_hand or None,
        "problem": one.problem or None,
    }


def _point(at: float, local: str, total: int) -> dict[str, Any] | None:
    """When, and which total the fleet gets then; None: there is none."""
    return {"unix": at, "local": local, "total": total} if at else None


def schedule_text(one: cluster.ScheduleStatus) -> str:
    """1,000 VMs from 2026-11-30T08:00+01:00 on (Europe/Berlin); 80 VMs by hand until then."""
    parts = []
    if one.held_until_unix:
        parts.append(f"{_held(one)} (said by {one.held_by or 'somebody'})")
    if one.next_unix:
        parts.append(f"next {_next(one)}, {one.time_zone} time")
    elif one.time_zone and not one.problem:
        parts.append("no point comes any more")
    if one.by_hand and not one.held_until_unix:
        parts.append(f"the total until then is {one.by_hand}'s")
    if one.problem:
        parts.append(one.problem)
    return printable("; ".join(parts))


def held_text(one: cluster.ScheduleStatus) -> str:
    """until 2026-11-29T21:00+00:00, then 80 VMs."""
    return printable(_held(one))


def next_text(one: cluster.FleetSummary) -> str | None:
    """In a list: when the total is another one by itself, and which; None: nothing is known of
    that."""
    if not one.HasField("schedule"):
        return None
    schedule = one.schedule
    if schedule.held_until_unix:
        return printable(f"{schedule.held_until_local}: {number(schedule.then_total)}")
    if schedule.next_unix:
        return printable(f"{schedule.next_local}: {number(schedule.next_total)}")
    return None


def _held(one: cluster.ScheduleStatus) -> str:
    return f"until {one.held_until_local}, then {counted(one.then_total, 'VM')}"


def _next(one: cluster.ScheduleStatus) -> str:
    return f"{one.next_local}: {counted(one.next_total, 'VM')}"
