"""What changes a total by time, as it is told."""

from __future__ import annotations

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.views.fleets.schedules import next_text, schedule_json, schedule_text

NEXT = cluster.ScheduleStatus(
    next_unix=1_796_025_600.0,
    next_local="2026-11-30T08:00+01:00",
    next_total=1000,
    time_zone="Europe/Berlin",
    applied_by="operator/anna",
)


def held() -> cluster.ScheduleStatus:
    one = cluster.ScheduleStatus(
        held_until_unix=1_796_029_200.0,
        held_until_local="2026-11-30T09:00+01:00",
        then_total=1000,
        held_by="operator/jo",
    )
    one.MergeFrom(NEXT)
    return one


def test_the_next_point_and_who_holds_the_total_until_then_are_told() -> None:
    assert schedule_text(NEXT) == "next 2026-11-30T08:00+01:00: 1,000 VMs, Europe/Berlin time"
    by_hand = cluster.ScheduleStatus(by_hand="operator/jo")
    by_hand.MergeFrom(NEXT)
    assert schedule_text(by_hand).endswith("; the total until then is operator/jo's")
    assert schedule_text(held()) == (
        "until 2026-11-30T09:00+01:00, then 1,000 VMs (said by operator/jo); next "
        "2026-11-30T08:00+01:00: 1,000 VMs, Europe/Berlin time"
    )


def test_a_schedule_of_which_no_point_comes_and_one_with_a_problem_say_so() -> None:
    over = cluster.ScheduleStatus(time_zone="UTC")
    assert schedule_text(over) == "no point comes any more"
    bad = cluster.ScheduleStatus(time_zone="UTC", problem="no zone\x1b[2J")
    assert schedule_text(bad) == "no zone\\x1b[2J"


def test_a_list_has_what_comes_first() -> None:
    assert next_text(cluster.FleetSummary()) is None
    assert next_text(cluster.FleetSummary(schedule=NEXT)) == "2026-11-30T08:00+01:00: 1,000"
    assert next_text(cluster.FleetSummary(schedule=held())) == "2026-11-30T09:00+01:00: 1,000"


def test_json_has_null_for_what_is_not() -> None:
    told = schedule_json(cluster.ScheduleStatus(time_zone="UTC"))
    assert told == {
        "time_zone": "UTC", "next": None, "applied_by": None, "held_until": None,
        "held_by": None, "by_hand": None, "problem": None,
    }  # fmt: skip
    assert schedule_json(NEXT)["next"]["total"] == 1000
