"""What fleetctl events and history read, and how they go on reading."""

from __future__ import annotations

import json
from typing import Any

import grpc

from fleet.transport import Refusal
from fleet.v1 import cluster_pb2 as cluster
from tests.processes.controller_double import ControllerDouble
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]


def test_events(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    event = cluster.Event(
        cursor=5, time_unix=1.0, kind="fleet_scaled", fleet="spv", message="0 -> 8 \x1b[2J",
        actor="operator/alice",
    )  # fmt: skip
    controller.on("ListEvents", cluster.ListEventsResponse(events=[event], next=5))
    said = fleetctl("events", "--limit", "3", "--fleet", "spv")
    assert "fleet_scaled" in said.out and "0 -> 8 \\x1b[2J  (operator/alice)" in said.out
    told = fleetctl("events", "-o", "json").json
    assert told["cursor"] == 5 and told["events"][0]["host"] is None
    assert [one.limit for one in controller.asked("ListEvents")] == [3, 100]


def test_colours_tell_what_a_kind_of_event_or_a_result_means(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    kinds = ("host_live", "host_unreachable", "host_lost", "fleet_scaled")
    events = [cluster.Event(cursor=at, kind=kind) for at, kind in enumerate(kinds)]
    controller.on("ListEvents", cluster.ListEventsResponse(events=events, next=4))
    coloured = fleetctl("events", "--color", "always", "--no-headers").out.splitlines()
    for line, colour in zip(coloured, ("\x1b[32m", "\x1b[33m", "\x1b[31m", ""), strict=True):
        assert colour in line and ("\x1b" in line) == bool(colour)
    records = [
        cluster.AuditRecord(id=at, result=one) for at, one in enumerate(("refused", "accepted"))
    ]
    controller.on("History", cluster.HistoryResponse(records=records))
    accepted, refused = fleetctl("history", "--color", "always", "--no-headers").out.splitlines()
    assert "\x1b[33mrefused" in refused and "\x1b" not in accepted
    assert "\x1b" not in fleetctl("events").out + fleetctl("history", "--color", "never").out


def test_what_repeats_is_shown_with_how_often_and_when_last(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    event = cluster.Event(
        cursor=4, kind="host_refused", host="h1", message="too often", count=8575, last_unix=60
    )
    controller.on("ListEvents", cluster.ListEventsResponse(events=[event], next=5))
    assert "too often  (8,575 times, last 1970-01-01" in fleetctl("events").out
    (told,) = fleetctl("events", "-o", "json").json["events"]
    assert (told["count"], told["last"]) == (8575, 60)


def test_events_are_followed_through_a_failover_until_the_reader_has_enough(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on(
        "ListEvents",
        lambda request: cluster.ListEventsResponse(
            events=[cluster.Event(cursor=request.after + 1, kind="host_live")],
            next=request.after + 1,
        ),
    )
    with fleetctl.start("events", "--follow", "-o", "json") as process:
        assert process.stdout
        seen = [json.loads(process.stdout.readline())["cursor"] for _ in range(2)]
        controller.refusing(
            "ListEvents", Refusal(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "no store"), 1
        )
        assert process.stderr
        assert process.stderr.readline() == "no store; still waiting\n"
        after = json.loads(process.stdout.readline())["cursor"]
        process.stdout.close()
        process.wait(timeout=30)
    assert seen == [1, 2] and after >= 3
    assert process.returncode == 0


def test_what_a_former_leader_told_last_is_said_to_be_missing(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = cluster.ListEventsResponse(next=9, former_leader=True, truncated=True, begins_unix=1.0)
    controller.on("ListEvents", answer)
    said = fleetctl("events", "--after", "5")
    assert "of events of before it has those that matter" in said.err
    assert [one.after for one in controller.asked("ListEvents")] == [5]


def line(number: int, **fields: Any) -> cluster.AuditRecord:
    return cluster.AuditRecord(
        id=number, time_unix=1.0, actor="operator/alice", result="accepted", **fields
    )


def test_history_shows_who_changed_what_the_latest_last(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    lines = [
        line(9, action="cordon", host="h1"),
        line(8, action="scale", fleet="spv", before="0", after="8"),
    ]
    controller.on("History", cluster.HistoryResponse(records=lines, next=8))
    said = fleetctl("history", "spv", "--host", "h1", "--limit", "2")
    rows = said.out.splitlines()
    assert rows[0].split() == ["WHEN", "WHO", "WHAT", "OF", "RESULT", "CHANGE"]
    assert "operator/alice  scale   spv  accepted  0 -> 8" in rows[1] and "cordon" in rows[2]
    assert said.err == "there are older ones: --before 8, or a higher --limit\n"
    (asked,) = controller.asked("History")
    assert (asked.fleet, asked.host, asked.limit, asked.before) == ("spv", "h1", 2, 0)
    told = fleetctl("history", "--limit", "2", "-o", "json").json
    assert ([one["id"] for one in told["records"]], told["next"]) == ([8, 9], 8)
    assert told["records"][1]["fleet"] is None


def test_a_long_history_is_read_by_pages(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    def page(request: cluster.HistoryRequest) -> cluster.HistoryResponse:
        newest = request.before - 1 if request.before else 1500
        lines = [line(newest - n, action="scale") for n in range(request.limit)]
        return cluster.HistoryResponse(records=lines, next=lines[-1].id)

    controller.on("History", page)
    told = fleetctl("history", "--limit", "1200", "-o", "json").json
    assert [one["id"] for one in told["records"]] == list(range(301, 1501))
    assert [one.limit for one in controller.asked("History")] == [1000, 200]


def test_what_is_of_one_change_is_chosen_from_all_that_is_kept(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    ids = ["", "c-1", "c-2", "c-1"]
    events = [cluster.Event(cursor=at, change_id=one) for at, one in enumerate(ids, 1)]
    controller.on("ListEvents", cluster.ListEventsResponse(events=events, next=4))
    shown = fleetctl("events", "--change", "c-1", "--limit", "1", "-o", "json").json["events"]
    assert [one["cursor"] for one in shown] == [4], "the newest of them"
    assert controller.asked("ListEvents")[0].limit == 10_000
    first = [line(number, change_id=ids[number % 4]) for number in range(1_000, 0, -1)]
    pages = {
        0: cluster.HistoryResponse(records=first, next=1),
        1: cluster.HistoryResponse(records=[line(0, change_id="c-2")]),
    }
    controller.on("History", lambda request: pages[request.before])
    shown = fleetctl("history", "--change", "c-2", "--limit", "300", "-o", "json").json["records"]
    assert len(shown) == 251 and {one["change_id"] for one in shown} == {"c-2"}
    refused = fleetctl("events", "--change", "No Id")
    assert refused.code == 2 and "is no id of a change" in refused.err


def test_lines_of_one_change_that_do_not_fit_come_with_the_next_page(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    every = [line(number, change_id="c-1") for number in range(10, 0, -1)]
    controller.on(
        "History",
        lambda request: cluster.HistoryResponse(
            records=[one for one in every if not request.before or one.id < request.before]
        ),
    )
    seen: list[int] = []
    before: tuple[str, ...] = ()
    for _ in range(3):
        said = fleetctl("history", "--change", "c-1", "--limit", "4", *before, "-o", "json").json
        seen += [one["id"] for one in reversed(said["records"])]
        before = ("--before", str(said["next"]))
    assert seen == list(range(10, 0, -1)) and said["next"] is None
