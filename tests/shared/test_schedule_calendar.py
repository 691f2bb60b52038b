"""When the points of a schedule come: by the calendar of its time zone, and bounded whatever is
asked."""

from __future__ import annotations

import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from fleet.template.calendar import BadSchedule, Calendar, check_entry, time_zone
from fleet.v1 import types_pb2 as types

BERLIN = "Europe/Berlin"
YEAR = 366 * 86_400.0


def calendar(*entries: tuple[str, int], zone: str = BERLIN) -> Calendar:
    points = [types.SchedulePoint(at=at, total=total) for at, total in entries]
    return Calendar(types.Schedule(time_zone=zone, points=points))


def at(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def coming(one: Calendar, after: float, count: int) -> list[str]:
    found = []
    for _ in range(count):
        point = one.next(after)
        assert point is not None and point.at > after
        after = point.at
        found.append(one.local(after))
    return found


def test_points_come_by_the_hours_of_the_time_zone() -> None:
    office = calendar(("0 8 * * 1-5", 1000), ("0 20 * * 1-5", 200))
    friday = at("2026-11-27T12:00")
    assert coming(office, friday, 3) == [
        "2026-11-27T20:00+01:00", "2026-11-30T08:00+01:00", "2026-11-30T20:00+01:00"
    ]  # fmt: skip
    point = office.next(friday)
    assert point is not None and point.total == 200


def test_a_time_that_does_not_exist_comes_at_once_after_the_gap() -> None:
    night = calendar(("30 2 * * *", 5))
    assert coming(night, at("2026-03-28T12:00"), 2) == [
        "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"
    ]  # fmt: skip


def test_two_points_in_the_same_gap_come_together_and_the_later_in_the_list_counts() -> None:
    night = calendar(("10 2 * * *", 5), ("40 2 * * *", 7))
    last = night.last(at("2026-03-29T01:00"), at("2026-03-29T12:00"))
    assert last is not None and (night.local(last.at), last.total) == ("2026-03-29T03:00+02:00", 7)


def test_a_time_that_exists_twice_comes_the_first_time_alone() -> None:
    night = calendar(("30 2 * * *", 5))
    assert coming(night, at("2026-10-24T12:00"), 2) == [
        "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"
    ]  # fmt: skip
    again = at("2026-10-25T02:10", fold=1)
    assert coming(night, again, 1) == ["2026-10-26T02:30+01:00"], "asked in the second hour"


def test_what_comes_every_half_hour_goes_by_elapsed_time_in_both_nights() -> None:
    often = calendar(("*/30 * * * *", 5))
    assert coming(often, at("2026-03-29T01:30"), 2) == [
        "2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00"
    ]  # fmt: skip
    assert coming(often, at("2026-10-25T02:00"), 4) == [
        "2026-10-25T02:30+02:00", "2026-10-25T02:00+01:00", "2026-10-25T02:30+01:00",
        "2026-10-25T03:00+01:00",
    ]  # fmt: skip


def test_a_zone_that_puts_its_clocks_forward_at_midnight_loses_no_midnight() -> None:
    midnight = calendar(("0 0 * * *", 5), zone="Asia/Beirut")
    assert coming(midnight, at("2026-03-28T12:00", "Asia/Beirut"), 1) == ["2026-03-29T01:00+03:00"]


def test_leap_days_come_in_leap_years_alone() -> None:
    leap = calendar(("0 0 29 2 *", 5), zone="UTC")
    assert coming(leap, at("2096-03-01T00:00", "UTC"), 1) == ["2104-02-29T00:00+00:00"]
    ends = calendar(("0 0 L * *", 5), zone="UTC")
    assert coming(ends, at("2028-02-01T00:00", "UTC"), 1) == ["2028-02-29T00:00+00:00"]


def test_of_many_points_since_then_the_last_one_is_found_in_few_steps() -> None:
    busy = calendar(("* * * * *", 1), ("0 8 29 2 *", 2))
    until = at("2026-07-01T12:00:30")
    began = time.perf_counter()
    last = busy.last(until - 10 * YEAR, until)
    assert last is not None and (last.total, busy.local(last.at)) == (1, "2026-07-01T12:00+02:00")
    assert time.perf_counter() - began < 1.0
    assert busy.last(until, until + 20) is None


@pytest.mark.parametrize("fold", [0, 1])
def test_the_last_point_is_the_same_whether_it_is_looked_for_from_near_or_far(fold: int) -> None:
    some = calendar(("30 2 * * *", 1), ("15 * * * *", 2), ("*/7 3 * * 0", 3))
    for until in (at("2026-10-25T02:40", fold=fold), at("2026-03-29T03:05", fold=fold)):
        near, point = None, some.next(until - 7200)
        while point is not None and point.at <= until:
            near, point = point, some.next(point.at)
        assert near == some.last(until - 7200, until) == some.last(until - YEAR, until)


@pytest.mark.parametrize(
    "entry",
    [
        "0 0 30 2 *", "0 0 31 4,6,9,11 *", "60 * * * *", "* * * *", "* * * * * *", "@daily", "",
        "a", "*/0 * * * *", "1-0 * * * *", "L * * * *", "* * L-2 * *",
        "1#2/3 * * * *", "* * * * 1#9",
    ],
)  # fmt: skip
def test_what_never_comes_and_what_is_none_is_refused(entry: str) -> None:
    with pytest.raises(BadSchedule):
        check_entry(entry)


def test_hostile_entries_take_no_time() -> None:
    began = time.perf_counter()
    lists = ",".join(["1-59/2"] * 9)
    for entry in (f"{lists} * * * *", "59 23 29 2 1#5", "* * 29 2 *", "0 0 * 2 1#5", "9" * 64):
        try:
            calendar((entry, 1)).last(at("1990-01-01T00:00"), at("2026-01-01T00:00"))
        except BadSchedule:
            continue
    assert time.perf_counter() - began < 5.0


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "Europe", "/etc", "a" * 65])
def test_unknown_time_zones_are_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(BadSchedule, match="no time zone is called"):
        time_zone(name)


def test_without_a_time_zone_it_is_utc() -> None:
    assert coming(calendar(("0 8 * * *", 1), zone=""), 0.0, 1) == ["1970-01-01T08:00+00:00"]
