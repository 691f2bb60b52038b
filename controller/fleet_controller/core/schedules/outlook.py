"""What is to come of a fleet's total by time, as people are told it."""

from __future__ import annotations

from collections.abc import Set

import msgspec

from fleet.template.calendar import BadSchedule, Calendar, Point, local
from fleet.v1 import types_pb2 as types
from fleet_controller.core.schedules.due import is_behind, next_point, quiet_until
from fleet_controller.core.schedules.record import ScheduleRecord


class Outlook(msgspec.Struct, frozen=True):
    """`next`: the next point. `then`: what the total is once a total for a time is over. `holds`:
    until when, on the same clock, the same is told. Texts are of the schedule's time zone."""

    holds: float
    next: Point | None = None
    next_local: str = ""
    then: int = 0
    until_local: str = ""
    problem: str = ""


def calendar_of(spec: types.FleetSpec | None) -> Calendar | None:
    """None: it has no schedule. Raises BadSchedule."""
    if spec is None or not spec.HasField("schedule"):
        return None
    return Calendar(spec.schedule)


def outlook(record: ScheduleRecord | None, spec: types.FleetSpec | None, now: float) -> Outlook:
    """As it is now."""
    try:
        calendar, problem = calendar_of(spec), ""
    except BadSchedule as error:
        calendar, problem = None, f"its schedule cannot be followed: {error}"
    point = next_point(record, calendar, now)
    timed = record.timed if record else None
    told = calendar.local if calendar else local
    then = 0
    if record is not None and timed is not None:
        last = calendar.last(record.done_until, timed.until) if calendar else None
        then = last.total if last else timed.then
    if record is not None and not problem:
        problem = _problem(record, told(record.done_until), now)
    return Outlook(
        min(quiet_until(record, calendar, now), point.at if point else float("inf")),
        point,
        told(point.at) if point else "",
        then,
        told(timed.until) if timed else "",
        problem,
    )


def _problem(record: ScheduleRecord, done_until: str, now: float) -> str:
    if record.unfit is not None:
        unfit = record.unfit
        return f"a total of {unfit.total:,} was due and could not be: {unfit.why}"
    if is_behind(record, now):
        return (
            f"the controller's clock is behind of what it was: points up to {done_until} count as "
            "carried out"
        )
    return ""


class Outlooks:
    """The same, remembered for as long as it stays the same: it is asked for with each status."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[ScheduleRecord | None, object, float, Outlook]] = {}

    def keep(self, uids: Set[str]) -> None:
        """Only these fleets are there."""
        for uid in self._known.keys() - uids:
            del self._known[uid]

    def of(
        self, uid: str, record: ScheduleRecord | None, spec: types.FleetSpec | None, now: float
    ) -> Outlook | None:
        """None: nothing changes the fleet's total by time."""
        if record is None and (spec is None or not spec.HasField("schedule")):
            self._known.pop(uid, None)
            return None
        known = self._known.get(uid)
        if known is not None and known[0] is record and known[1] is spec:
            made, found = known[2], known[3]
            behind = record is not None and is_behind(record, made)
            if made <= now < found.holds and not behind:
                return found
        found = outlook(record, spec, now)
        self._known[uid] = (record, spec, now, found)
        return found
