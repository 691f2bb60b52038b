"""The schedule of a fleet file."""

from __future__ import annotations

import pytest

from megafleet.fleet_file.parser import parse_fleet_file
from tests.client.least_fleet_file import LEAST, told

SCHEDULE = """\
schedule:
  time_zone: Europe/Berlin
  points:
    - at: "0 8 * * 1-5"
      total: 1000
    - {at: "0 20 * * 1-5", total: 0}
"""


def test_a_schedule_is_read_as_it_is_written() -> None:
    schedule = parse_fleet_file(LEAST + SCHEDULE, "f.yaml").spec.schedule
    assert schedule.time_zone == "Europe/Berlin"
    assert [(one.at, one.total) for one in schedule.points] == [
        ("0 8 * * 1-5", 1000), ("0 20 * * 1-5", 0)
    ]  # fmt: skip
    assert not parse_fleet_file(LEAST, "f.yaml").spec.HasField("schedule")
    without = parse_fleet_file(LEAST + SCHEDULE.replace("time_zone: Europe/Berlin", ""), "f").spec
    assert without.schedule.time_zone == "UTC"


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("schedule: {}", "schedule.points: must be one at least"),
        ("schedule: {points: []}", "schedule.points: must be one at least"),
        ("schedule: {points: [{at: '0 8 * * *'}]}", "points[0].total: is missing"),
        ("schedule: {points: [{total: 5}]}", "points[0].at: is missing"),
        ("schedule: {points: [{at: 8am, total: 5}]}", "points[0].at: must be five fields"),
        ("schedule: {points: [{at: '0 25 * * *', total: 5}]}", "is no time of a crontab: Bad hour"),
        ("schedule: {points: [{at: '0 0 31 2 *', total: 5}]}", "is no time of a crontab"),
        ("schedule: {points: [{at: '0 8 * * *', total: -1}]}", "points[0].total: must be 0 to"),
        ("schedule: {points: [{at: '0 8 * * *', total: 99999999}]}", "must be 0 to 16777216"),
        ("schedule: {time_zone: 'CE!ST', points: [{at: '0 8 * * *', total: 5}]}", "IANA name"),
        ("schedule: {time_zone: Mars/Base, points: [{at: '0 8 * * *', total: 5}]}",
         "schedule.time_zone: no time zone is called 'Mars/Base'"),
        ("schedule: {points: [{at: '0 8 * * *', total: 5}, {at: '0 8 * * *', total: 6}]}",
         "schedule.points[1].at: '0 8 * * *' stands there twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_schedule_is_said(written: str, says: str) -> None:
    assert says in told(f"{LEAST}{written}\n")


def test_a_schedule_of_thousands_of_points_is_refused_at_once() -> None:
    points = ", ".join(f"{{at: '{n % 60} {n // 60} * * *', total: 1}}" for n in range(1000))
    said = told(f"{LEAST}schedule: {{points: [{points}]}}\n")
    assert "schedule.points: must be at most 32; got 1000" in said
