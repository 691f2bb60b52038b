"""What is due by time: from a record, a calendar and an instant."""

from __future__ import annotations

import msgspec
import pytest

from fleet.template.calendar import Calendar
from fleet.v1 import types_pb2 as types
from fleet_controller.core.refusals import Refused
from fleet_controller.core.schedules.due import Cause, Due, due
from fleet_controller.core.schedules.orders import applied, check_seconds, scaled
from fleet_controller.core.schedules.outlook import Outlooks, outlook
from fleet_controller.core.schedules.record import ScheduleRecord, TimedTotal, Unfit

UID, ME, YOU = "uid", "operator/me", "operator/you"
HOUR, DAY = 3600.0, 86_400.0
SCHEDULE = types.Schedule(
    time_zone="UTC",
    points=[
        types.SchedulePoint(at="0 8 * * *", total=100),
        types.SchedulePoint(at="0 20 * * *", total=10),
    ],
)
SPEC = types.FleetSpec(schedule=SCHEDULE)
OFFICE = Calendar(SCHEDULE)


def of(done: float, **more: object) -> ScheduleRecord:
    return msgspec.structs.replace(ScheduleRecord(UID, done, ME), **more)


def at(record: ScheduleRecord | None, now: float, total: int = 10) -> Due | None:
    return due(UID, record, OFFICE, total, now, ME)


def test_nothing_is_due_before_the_next_point() -> None:
    assert at(of(6 * HOUR), 7.9 * HOUR) is None


def test_a_point_is_carried_out_once_in_the_name_of_who_applied_the_schedule() -> None:
    found = at(of(6 * HOUR), 8 * HOUR)
    assert found is not None
    assert (found.cause, found.total, found.actor, found.at) == (Cause.POINT, 100, ME, 8 * HOUR)
    assert not found.passed_over and not found.late(8 * HOUR + 1)
    assert at(found.record, 8 * HOUR + 1, 100) is None


def test_of_points_that_came_while_nobody_led_the_last_one_counts() -> None:
    found = at(of(6 * HOUR), 3 * DAY + 21 * HOUR, 55)
    assert found is not None
    assert (found.total, found.at, found.passed_over) == (10, 3 * DAY + 20 * HOUR, True)
    assert found.late(3 * DAY + 21 * HOUR) == HOUR


def test_a_point_that_finds_its_total_there_writes_nothing() -> None:
    assert at(of(6 * HOUR), 9 * HOUR, 100) is None


def test_a_clock_that_goes_back_repeats_nothing() -> None:
    done = of(9 * HOUR)
    assert at(done, 7.5 * HOUR, 55) is None
    assert at(done, 8.5 * HOUR, 55) is None
    found = at(done, 20 * HOUR, 55)
    assert found is not None and found.total == 10


def test_a_clock_that_was_days_ahead_holds_nothing_up_for_days() -> None:
    found = at(of(10 * DAY), 2 * DAY)
    assert found is not None and (found.cause, found.total) == (Cause.SET_BACK, None)
    assert found.record.done_until == 2 * DAY
    held = of(10 * DAY, timed=TimedTotal(10 * DAY + HOUR, 5, YOU))
    found = at(held, 2 * DAY)
    assert found is not None and found.record.timed == TimedTotal(2 * DAY + HOUR, 5, YOU)


def test_a_clock_that_jumps_ahead_by_years_makes_one_change() -> None:
    found = at(of(6 * HOUR), 20_000 * DAY, 55)
    assert found is not None and found.total == 10 and found.passed_over
    assert at(found.record, 20_000 * DAY, 10) is None


def test_a_schedule_of_which_nothing_is_known_holds_from_its_next_point() -> None:
    found = at(None, 9 * HOUR, 55)
    assert found is not None and (found.cause, found.total) == (Cause.BEGUN, None)
    assert at(found.record, 10 * HOUR, 55) is None
    assert due(UID, None, None, 5, 9 * HOUR) is None


def test_what_somebody_says_by_hand_holds_until_the_next_point() -> None:
    record = scaled(UID, of(6 * HOUR), 100, YOU, 9 * HOUR, 0)
    assert record is not None and record.by_hand == YOU
    assert at(record, 19 * HOUR, 55) is None
    found = at(record, 20 * HOUR, 55)
    assert found is not None and found.total == 10 and found.record.by_hand == ""


def test_a_hand_that_comes_right_after_the_point_wins_over_it() -> None:
    record = scaled(UID, of(6 * HOUR), 10, YOU, 8 * HOUR + 0.3, 0)
    assert at(record, 8 * HOUR + 1, 55) is None


def test_a_total_for_a_time_holds_over_points_and_then_the_schedule_counts() -> None:
    record = scaled(UID, of(6 * HOUR), 10, YOU, 7 * HOUR, int(2 * HOUR))
    assert record is not None
    assert at(record, 8.5 * HOUR, 500) is None
    found = at(record, 9 * HOUR, 500)
    assert found is not None and (found.total, found.at) == (100, 8 * HOUR)
    assert found.record.timed is None and at(found.record, 10 * HOUR, 100) is None
    told = outlook(record, SPEC, 7.5 * HOUR)
    assert (told.then, told.until_local) == (100, "1970-01-01T09:00+00:00")


def test_without_a_point_meanwhile_it_is_again_what_it_was() -> None:
    record = scaled(UID, of(6 * HOUR), 33, YOU, 9 * HOUR, int(2 * HOUR))
    found = at(record, 11 * HOUR, 500)
    assert found is not None
    assert (found.cause, found.total, found.actor) == (Cause.OVER, 33, YOU)


def test_a_fleet_without_a_schedule_has_totals_for_a_time_too() -> None:
    record = scaled(UID, None, 33, YOU, 9 * HOUR, 60)
    assert record is not None
    assert due(UID, record, None, 500, 9 * HOUR + 59) is None
    found = due(UID, record, None, 500, 9 * HOUR + 60)
    assert found is not None and found.total == 33 and not found.record.is_needed


def test_said_again_it_goes_back_to_what_it_was_at_first() -> None:
    first = scaled(UID, None, 33, YOU, 0.0, 60)
    again = scaled(UID, first, 500, YOU, 30.0, 60)
    assert again is not None and again.timed == TimedTotal(90.0, 33, YOU)
    assert scaled(UID, again, 500, YOU, 40.0, 0) is None, "by hand, for good"


def test_said_again_it_goes_back_to_what_the_schedule_has_said_meanwhile() -> None:
    first = scaled(UID, of(6 * HOUR), 10, YOU, 7 * HOUR, int(3 * HOUR), OFFICE)
    again = scaled(UID, first, 900, YOU, 9 * HOUR, int(2 * HOUR), OFFICE)
    assert again is not None and again.timed == TimedTotal(11 * HOUR, 100, YOU)
    found = at(again, 11 * HOUR, 900)
    assert found is not None and (found.cause, found.total) == (Cause.OVER, 100)


def test_a_point_that_is_not_yet_carried_out_counts_for_what_it_goes_back_to() -> None:
    record = scaled(UID, of(6 * HOUR), 10, YOU, 8 * HOUR + 0.3, 60, OFFICE)
    assert record is not None and record.timed == TimedTotal(8 * HOUR + 60.3, 100, YOU)


@pytest.mark.parametrize("scheduled", [True, False])
def test_another_schedule_forgets_no_point_that_came_while_a_total_held(scheduled: bool) -> None:
    held = scaled(UID, of(6 * HOUR), 10, YOU, 7 * HOUR, int(3 * HOUR), OFFICE)
    kept = applied(UID, held, ME, 9 * HOUR, scheduled=scheduled, former=OFFICE)
    assert kept is not None and kept.timed == TimedTotal(10 * HOUR, 100, YOU)


def test_another_schedule_holds_from_its_next_point_and_none_needs_no_record() -> None:
    record = applied(UID, of(0.0, by_hand=YOU, unfit=Unfit(9, 0.0, "no")), YOU, 9 * HOUR,
                     scheduled=True)  # fmt: skip
    assert record == ScheduleRecord(UID, 9 * HOUR, YOU)
    assert applied(UID, record, ME, 9 * HOUR, scheduled=False) is None
    held = scaled(UID, record, 7, YOU, 9 * HOUR, 60)
    kept = applied(UID, held, ME, 9 * HOUR, scheduled=False)
    assert kept is not None and kept.timed is not None and kept.actor == ""


def test_what_could_not_be_is_tried_again_until_something_else_is_said() -> None:
    record = of(9 * HOUR, unfit=Unfit(100, 8 * HOUR, "too many", ME))
    found = at(record, 10 * HOUR, 55)
    assert found is not None and (found.cause, found.total) == (Cause.AGAIN, 100)
    assert found.record.unfit is None
    assert "100 was due and could not be: too many" in outlook(record, SPEC, 10 * HOUR).problem
    found = at(record, 20 * HOUR, 55)
    assert found is not None and (found.cause, found.total) == (Cause.POINT, 10)
    by_hand = scaled(UID, record, 55, YOU, 11 * HOUR, 0)
    assert by_hand is not None and by_hand.unfit is None


@pytest.mark.parametrize("seconds", [1, 59, 8 * 86_400, 2**32 - 1])
def test_a_total_holds_for_a_minute_to_a_week(seconds: int) -> None:
    with pytest.raises(Refused, match="1 minute to 7 days"):
        check_seconds(seconds)


def test_what_is_to_come_is_told_and_computed_once() -> None:
    outlooks, record = Outlooks(), of(6 * HOUR)
    first = outlooks.of(UID, record, SPEC, 7 * HOUR)
    assert first is not None and first.next == (8 * HOUR, 100)
    assert outlooks.of(UID, record, SPEC, 7.9 * HOUR) is first
    later = outlooks.of(UID, record, SPEC, 8 * HOUR)
    assert later is not None and later.next == (20 * HOUR, 10)
    before = outlooks.of(UID, record, SPEC, 7 * HOUR)
    assert before is not None and before.next == (8 * HOUR, 100), "the clock went back"
    assert outlooks.of("other", None, types.FleetSpec(), 0.0) is None


def test_a_clock_that_is_behind_is_told() -> None:
    told = outlook(of(9 * HOUR), SPEC, 7 * HOUR)
    assert "points up to 1970-01-01T09:00+00:00 count" in told.problem
    assert told.next == (20 * HOUR, 10)


def test_a_time_zone_that_this_controller_does_not_know_is_told() -> None:
    spec = types.FleetSpec()
    spec.CopyFrom(SPEC)
    spec.schedule.time_zone = "Europe/Atlantis"
    told = outlook(of(6 * HOUR), spec, 7 * HOUR)
    assert told.next is None and "no time zone is called 'Europe/Atlantis'" in told.problem
