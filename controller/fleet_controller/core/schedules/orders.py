"""What people say of a fleet's total, and what becomes of its schedule's record by it."""

from __future__ import annotations

import msgspec

from fleet.template.calendar import Calendar
from fleet.v1 import types_pb2 as types
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.core.schedules.due import LONGEST_TIMED, SHORTEST_TIMED
from fleet_controller.core.schedules.record import ScheduleRecord, TimedTotal


def largest_total(spec: types.FleetSpec) -> int:
    """Of all points of its schedule; 0 where it has none."""
    return max((one.total for one in spec.schedule.points), default=0)


def check_seconds(seconds: int) -> None:
    """For how long a total may hold. 0: until somebody changes it. Raises Refused."""
    if seconds and not SHORTEST_TIMED <= seconds <= LONGEST_TIMED:
        raise Refused(
            Reason.BAD_TOTAL,
            f"a total may hold for 1 minute to {LONGEST_TIMED / 86_400:.0f} days; {seconds:,} s "
            "are not",
        )


def scaled(
    uid: str,
    record: ScheduleRecord | None,
    before: int,
    actor: str,
    now: float,
    seconds: int,
    calendar: Calendar | None = None,
) -> ScheduleRecord | None:
    """Somebody has set the total, which was `before`; for so long, or until something else is said.
    `calendar`: of the fleet's schedule. None: no record is needed."""
    have = record or ScheduleRecord(uid, now)
    done = max(now, have.done_until)
    if not seconds:
        by_hand = actor if have.actor else ""
        made = msgspec.structs.replace(
            have, done_until=done, by_hand=by_hand, timed=None, unfit=None
        )
    else:
        # What it was before a total that held for a time is what it goes back to.
        then = _goes_back_to(have, have.timed.then if have.timed else before, calendar, now)
        timed = TimedTotal(now + seconds, then, actor)
        made = msgspec.structs.replace(have, done_until=done, timed=timed, unfit=None)
    return made if made.is_needed else None


def applied(
    uid: str,
    record: ScheduleRecord | None,
    actor: str,
    now: float,
    *,
    scheduled: bool,
    former: Calendar | None = None,
) -> ScheduleRecord | None:
    """The fleet has another schedule, or none any more; `former`: the one before. It holds from its
    next point; a total that holds for a time goes on. None: no record is needed."""
    have = record or ScheduleRecord(uid, now)
    done = max(now, have.done_until) if record else now
    timed = have.timed
    if timed is not None:
        then = _goes_back_to(have, timed.then, former, now)
        timed = msgspec.structs.replace(timed, then=then)
    made = msgspec.structs.replace(
        have,
        done_until=done,
        actor=actor if scheduled else "",
        by_hand="",
        timed=timed,
        unfit=None,
    )
    return made if made.is_needed else None


def _goes_back_to(have: ScheduleRecord, then: int, calendar: Calendar | None, now: float) -> int:
    """Once a total for a time is over: points that have come up to now are passed over by what is
    written, so that what the last of them said is remembered in it."""
    point = calendar.last(have.done_until, now) if calendar else None
    return point.total if point else then
