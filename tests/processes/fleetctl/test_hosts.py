"""What fleetctl hosts asks of the controller, and prints."""

from __future__ import annotations

from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleetctl.outcome import ExitCode
from tests.processes.controller_double import IDENTITY, UID, ControllerDouble
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]

RANGE_300 = types.IndexRange(start=300, stop=301)


def host(number: int, **fields: object) -> cluster.HostSummary:
    made = cluster.HostSummary(
        id=f"h{number}",
        address=f"192.0.2.{number}:7441",
        health=cluster.HOST_HEALTH_LIVE,
        assigned=250,
        running=249,
        failed=1,
        capacity_guests=250,
        report_age_seconds=2.5,
        labels={"rack": "r1"},
    )
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_hosts_are_listed_without_saying_list(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    hosts = [
        host(1),
        host(2, health=cluster.HOST_HEALTH_LOST, cordoned=True, report_age_seconds=-1),
    ]
    controller.on("ListHosts", cluster.ListHostsResponse(hosts=hosts, matching=2))
    said = fleetctl("hosts", "--health", "lost", "--label", "rack=r1", "--cordoned")
    assert said.out == (
        "HOST  HEALTH          ASSIGNED  RUNNING  FAILED  CAPACITY  HEARD      ADDRESS         "
        "LABELS\n"
        "h1    live                 250      249       1       250  2.5 s ago  192.0.2.1:7441  "
        "rack=r1\n"
        "h2    lost, cordoned       250      249       1       250  never      192.0.2.2:7441  "
        "rack=r1\n"
    )
    (asked,) = controller.asked("ListHosts")
    assert asked.health == cluster.HOST_HEALTH_LOST and asked.cordoned_only
    assert dict(asked.selector) == {"rack": "r1"} and asked.limit == 100
    told = fleetctl("hosts", "list", "-o", "json").json
    assert [one["report_age_seconds"] for one in told["hosts"]] == [2.5, None]


def test_all_hosts_are_asked_for_page_by_page(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    def page(request: cluster.ListHostsRequest) -> cluster.ListHostsResponse:
        number = int(request.cursor or "1")
        following = str(number + 1) if number < 3 else ""
        return cluster.ListHostsResponse(hosts=[host(number)], next_cursor=following, matching=3)

    controller.on("ListHosts", page)
    told = fleetctl("hosts", "--all", "-o", "json").json
    assert [one["host"] for one in told["hosts"]] == ["h1", "h2", "h3"]
    said = fleetctl("hosts", "--limit", "1")
    assert said.err == "1 of 3; go on with --cursor '2', or see --all\n"


def test_one_host(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    detail = cluster.HostDetail(
        summary=host(1),
        facts=types.HostFacts(hypervisor="Xen 4.20\x1b[2J", storage="zfs tank"),
        shards=[
            types.Shard(
                fleet_uid=UID, ranges=[types.IndexRange(start=0, stop=249), RANGE_300], generation=1
            )
        ],
        tombstones=[types.Tombstone(id=4, fleet_uid=UID, ranges=[RANGE_300])],
        problems=[agent.Problem(kind="no_space", fleet_uid=UID, count=1, example_message="full")],
        fleets=[IDENTITY],
    )
    controller.on("GetHost", detail)
    said = fleetctl("hosts", "show", "h1")
    assert "hypervisor  Xen 4.20\\x1b[2J\n" in said.out
    assert "  spv    250  0-248,300           1  on\n" in said.out
    assert "to be released:\n" in said.out and "no_space" in said.out
    told = fleetctl("hosts", "show", "h1", "-o", "json").json
    assert told["shards"][0]["indices"] == "0-248,300" and told["tombstones"][0]["id"] == 4


def test_hosts_are_filtered_by_what_was_said_of_them(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("ListHosts", cluster.ListHostsResponse(hosts=[host(1)], matching=1))
    for option in ("--cordoned", "--draining", "--quarantined"):
        assert fleetctl("hosts", "list", option).code == 0
    assert controller.asked("ListHosts") == [
        cluster.ListHostsRequest(limit=100, cordoned_only=True),
        cluster.ListHostsRequest(limit=100, draining_only=True),
        cluster.ListHostsRequest(limit=100, quarantined_only=True),
    ]


def test_cordon_and_uncordon(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("SetCordon", lambda request: host(1, cordoned=request.cordoned))
    assert fleetctl("hosts", "cordon", "h1").out == (
        "h1: cordoned, takes no new VMs; 250 assigned\n"
    )
    assert fleetctl("hosts", "uncordon", "h1").out == "h1: takes VMs; 250 assigned\n"
    assert [one.cordoned for one in controller.asked("SetCordon")] == [True, False]


def test_a_distrusted_host_is_shown_with_what_it_claims_and_what_to_do(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    claim = "host h1 claims an assignment of epoch 9.9, and proves nothing of it"
    summary = cluster.HostSummary(id="h1", health=cluster.HOST_HEALTH_LIVE, distrusted=claim)
    controller.on("GetHost", cluster.HostDetail(summary=summary))
    said = fleetctl("hosts", "show", "h1").out
    assert claim in said and "'fleetctl hosts reset h1'" in said
    assert "live, distrusted" in said
    assert fleetctl("hosts", "show", "h1", "-o", "json").json["distrusted"] == claim


def test_a_host_is_reset_when_that_was_said_twice(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("ResetHost", cluster.HostSummary(id="h1"))
    said = fleetctl("hosts", "reset", "h1")
    assert said.code == ExitCode.USAGE and "give --yes" in said.err
    assert not controller.asked("ResetHost")
    said = fleetctl("hosts", "reset", "h1", "--yes")
    assert said.err == ""
    assert said.out == "h1 was reset: it is told what the store has for it\n"
