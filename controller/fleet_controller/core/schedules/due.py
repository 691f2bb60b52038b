"""Which total a fleet is to have by time, now: from its record and its calendar, and nothing else.

Each point counts once. Of several that came while nobody looked the last one counts. A clock that
goes back repeats nothing, unless it goes back by more than a day: then it was wrong before, and
what is due is what comes from now on.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from fleet.template.calendar import Calendar, Point
from fleet_controller.core.schedules.record import ScheduleRecord, TimedTotal

# A clock that is set back by more than this was wrong when it was ahead.
MOST_BACK = 24 * 3600.0
# How long a total may be said to hold for.
SHORTEST_TIMED, LONGEST_TIMED = 60.0, 7 * 24 * 3600.0
# A point that is carried out later than this is told to be late, and so is a clock that is behind.
LATE = 120.0


class Cause(StrEnum):
    """Why something is to be done."""

    POINT = "point"  # of the schedule
    OVER = "over"  # a total held for a time, which is over
    AGAIN = "again"  # what could not be is tried again
    BEGUN = "begun"  # a schedule that nothing is known of: it holds from now on
    SET_BACK = "set_back"  # the clock was far ahead before


class Due(msgspec.Struct, frozen=True):
    """What is to be done now. `total`: None where it stays. `record`: afterwards."""

    cause: Cause
    record: ScheduleRecord
    total: int | None = None
    actor: str = ""  # in whose name
    at: float = 0.0  # when it came
    passed_over: bool = False  # points before it came too

    def late(self, now: float) -> float:
        """Seconds; 0 where nobody would say so."""
        seconds = now - self.at
        return seconds if self.total is not None and seconds > LATE else 0.0


def due(
    uid: str,
    record: ScheduleRecord | None,
    calendar: Calendar | None,
    total: int,
    now: float,
    applied_by: str = "",
) -> Due | None:
    """None: nothing, as things are. `total`: what the fleet is to have. `applied_by`: whose name is
    taken where there is a schedule and no record of it."""
    if record is None:
        if calendar is None:
            return None
        return Due(Cause.BEGUN, ScheduleRecord(uid, now, applied_by or "leader"))
    if now < record.done_until - MOST_BACK:
        return Due(Cause.SET_BACK, _from_now(record, now))
    if record.timed is not None:
        return _after_timed(record, record.timed, calendar, now)
    found = _since(record, calendar, now)
    if found is not None:
        if found.total == total and not (record.by_hand or record.unfit):
            return None  # it is as it would be made
        return found
    unfit = record.unfit
    if unfit is None:
        return None
    tried = msgspec.structs.replace(record, unfit=None)
    return Due(Cause.AGAIN, tried, unfit.total, unfit.actor, unfit.at)


def _since(record: ScheduleRecord, calendar: Calendar | None, now: float) -> Due | None:
    """The last point that has come since what was done."""
    point = calendar.last(record.done_until, now) if calendar else None
    if point is None or calendar is None:
        return None
    first = calendar.next(record.done_until)
    done = msgspec.structs.replace(record, done_until=now, by_hand="", unfit=None, timed=None)
    passed_over = first is not None and first.at < point.at
    return Due(Cause.POINT, done, point.total, record.actor, point.at, passed_over)


def _after_timed(
    record: ScheduleRecord, timed: TimedTotal, calendar: Calendar | None, now: float
) -> Due | None:
    """Once its time is over: what the schedule has said meanwhile, or what the total was."""
    if now < timed.until:
        return None
    if (point := _since(record, calendar, now)) is not None:
        return point
    until = max(now, record.done_until)
    done = msgspec.structs.replace(record, done_until=until, timed=None, unfit=None)
    return Due(Cause.OVER, done, timed.then, timed.actor, timed.until)


def _from_now(record: ScheduleRecord, now: float) -> ScheduleRecord:
    """As if it had been written now: a total for a time holds as long as it had left."""
    timed = record.timed
    if timed is not None:
        left = min(max(0.0, timed.until - record.done_until), LONGEST_TIMED)
        timed = msgspec.structs.replace(timed, until=now + left)
    return msgspec.structs.replace(record, done_until=now, timed=timed)


def quiet_until(record: ScheduleRecord | None, calendar: Calendar | None, now: float) -> float:
    """Until then nothing becomes due by the passing of time alone. Infinity: ever."""
    if record is not None and record.timed is not None:
        return record.timed.until
    point = next_point(record, calendar, now)
    return point.at if point is not None else float("inf")


def next_point(
    record: ScheduleRecord | None, calendar: Calendar | None, now: float
) -> Point | None:
    """The next one that counts, whether or not a total holds over it."""
    if calendar is None:
        return None
    return calendar.next(max(now, record.done_until) if record else now)


def is_behind(record: ScheduleRecord, now: float) -> bool:
    """Whether the clock that the record was written by was ahead of this one."""
    return record.done_until - now > LATE
