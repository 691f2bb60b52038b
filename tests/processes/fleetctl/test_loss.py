"""What fleetctl says of hosts that fail, and asks for."""

from __future__ import annotations

import grpc
import pytest

from fleet.transport import Refusal
from fleet.v1 import cluster_pb2 as cluster
from tests.processes.controller_double import ControllerDouble, status
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]


def host(name: str, **fields: object) -> cluster.HostSummary:
    made = cluster.HostSummary(id=name, health=cluster.HOST_HEALTH_LOST, assigned=250)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def test_many_hosts_are_declared_lost_by_one_call(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on(
        "DeclareLost",
        lambda request: cluster.DeclareLostResponse(hosts=[host(name) for name in request.hosts]),
    )
    names = [f"h{n}" for n in range(45)]
    said = fleetctl("hosts", "declare-lost", "--yes", *names, "h0")
    assert said.out == (
        "h0, h1, h2, h3, h4 and 40 more are lost; the 11,250 VMs that they had are placed on other "
        "hosts, or wait. 'fleetctl status' shows how far it is\n"
    )
    (asked,) = controller.asked("DeclareLost")
    assert (list(asked.hosts), asked.undo) == (names, False)
    told = fleetctl("hosts", "declare-lost", "--yes", "h1", "-o", "json").json
    assert [(one["host"], one["health"]) for one in told["hosts"]] == [("h1", "lost")]


def test_a_verdict_taken_back_needs_no_confirmation(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("DeclareLost", cluster.DeclareLostResponse(hosts=[host("h1")]))
    assert fleetctl("hosts", "declare-lost", "h1", "--undo").out == "h1 is not declared lost\n"
    assert controller.asked("DeclareLost")[0].undo


def test_nothing_is_declared_lost_unasked(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    said = fleetctl("hosts", "declare-lost", "h1")
    assert said.code == 2 and "give --yes" in said.err
    assert not controller.asked("DeclareLost")


def test_what_would_be_lost_is_shown_first(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    held = {"h1": host("h1"), "h2": host("h2"), "h3": host("h3", assigned=7)}
    controller.on("GetHost", lambda request: cluster.HostDetail(summary=held[request.id]))
    told = fleetctl("hosts", "declare-lost", "--plan", "h3", "h1", "-o", "json").json
    assert [(one["host"], one["assigned"]) for one in told["hosts"]] == [("h3", 7), ("h1", 250)]
    assert "h3" in fleetctl("hosts", "declare-lost", "--plan", "h3").out
    live = cluster.HostDetail(summary=host("h1", health=cluster.HOST_HEALTH_LIVE))
    controller.on("GetHost", live)
    assert "would be refused: h1 is live" in fleetctl("hosts", "declare-lost", "--plan", "h1").out
    code = grpc.StatusCode.NOT_FOUND
    controller.on("GetHost", Refusal(code, "NO_SUCH_HOST", "there is no host 'h9'"))
    unknown = fleetctl("hosts", "declare-lost", "--plan", "h9")
    assert (unknown.code, unknown.err) == (1, "fleetctl: there is no host 'h9'\n")
    assert not controller.asked("DeclareLost")


def test_a_live_host_is_refused_in_the_leaders_words(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    why = "h1 is live and cannot be lost; cordon or drain such a host"
    code = grpc.StatusCode.FAILED_PRECONDITION
    controller.on("DeclareLost", Refusal(code, "HOST_LIVE", why))
    said = fleetctl("hosts", "declare-lost", "--yes", "h1")
    assert (said.code, said.err) == (1, f"fleetctl: {why}\n")


def test_a_host_is_let_out_of_quarantine(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("ReleaseQuarantine", lambda request: host(request.host, failed=3))
    assert fleetctl("hosts", "release", "h1").out == (
        "h1: not in quarantine; 3 VMs there fail now\n"
    )
    told = fleetctl("hosts", "release", "h1", "-o", "json").json
    assert told["quarantine"] is None


def test_hosts_show_what_was_said_of_them(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    ill = host("h1", quarantine="20 of 40 VMs fail", duplicates=5)
    controller.on("ListHosts", cluster.ListHostsResponse(hosts=[ill], matching=1))
    assert "lost, quarantine" in fleetctl("hosts").out
    controller.on("GetHost", cluster.HostDetail(summary=ill))
    said = fleetctl("hosts", "show", "h1").out
    assert "quarantine   20 of 40 VMs fail\n" in said and "5 that others hold\n" in said
    told = fleetctl("hosts", "show", "h1", "-o", "json").json
    assert (told["quarantine"], told["duplicates"]) == ("20 of 40 VMs fail", 5)


def test_a_host_that_only_a_standby_reaches_is_shown(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    cut_off = host("h1", health=cluster.HOST_HEALTH_SUSPECT, reached_by="controller-2")
    controller.on("ListHosts", cluster.ListHostsResponse(hosts=[cut_off], matching=1))
    assert "suspect, reached by controller-2 " in fleetctl("hosts", "list").out
    controller.on("GetHost", cluster.HostDetail(summary=cut_off))
    assert (
        "network      controller-2 reaches it and the leader does not: it is not declared lost; "
        "look at the network between them\n"
    ) in fleetctl("hosts", "show", "h1").out
    assert fleetctl("hosts", "show", "h1", "-o", "json").json["reached_by"] == "controller-2"
    answer = status()
    answer.hosts.suspect = answer.hosts.cut_off = 1
    controller.on("Status", answer)
    assert "1 cut off" in fleetctl("status").out
    assert fleetctl("status", "-o", "json").json["hosts"]["cut_off"] == 1
    answer.hosts.cut_off = 0
    controller.on("Status", answer)
    assert "cut off" not in fleetctl("status").out


def opened() -> cluster.StatusResponse:
    answer = status()
    answer.breaker.reason = "40 of 40 hosts of rack=r7 are gone, more than 50%"
    answer.breaker.scopes.append("rack=r7")
    answer.breaker.since_unix, answer.breaker.waiting_hosts = 1000.5, 38
    return answer


def test_status_shows_an_open_breaker_and_what_may_run_twice(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = opened()
    answer.fleets[0].duplicates, answer.fleets[0].on_lost_hosts = 12, 250
    answer.hosts.quarantined = 1
    controller.on("Status", answer)
    said = fleetctl("status").out
    assert (
        "  breaker      open: 40 of 40 hosts of rack=r7 are gone, more than 50%; 38 hosts would be "
        "replaced; if they are dead, 'fleetctl breaker release' has them replaced all the same, "
        "and 'fleetctl hosts declare-lost HOST...' some of them\n"
    ) in said
    assert "12 may run twice, 250 wait for lost hosts\n" in said and "1 quarantined" in said
    told = fleetctl("status", "-o", "json").json
    assert told["breaker"] == {
        "reason": "40 of 40 hosts of rack=r7 are gone, more than 50%",
        "since_unix": 1000.5,
        "scopes": ["rack=r7"],
        "waiting_hosts": 38,
    }
    assert (told["duplicates"], told["on_lost_hosts"]) == (12, 250)


def test_the_breaker_is_shown_and_released(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("Status", opened())
    assert fleetctl("breaker", "show").out.startswith("open: 40 of 40 hosts")
    controller.on("Status", status())
    assert fleetctl("breaker", "show").out == "closed: lost hosts are replaced\n"
    told = fleetctl("breaker", "show", "-o", "json").json
    assert told == {"breaker": None, "breaker_released_seconds": None}
    held = status()
    held.breaker_released_seconds = 552.0
    controller.on("Status", held)
    assert fleetctl("breaker", "show").out == (
        "released for another 9:12: lost hosts are replaced, however many are gone\n"
    )
    assert "  breaker      released for another 9:12" in fleetctl("status").out
    assert fleetctl("status", "-o", "json").json["breaker_released_seconds"] == 552.0
    answer = cluster.ReleaseBreakerResponse(waiting_hosts=38, until_unix=2000.0)
    controller.on("ReleaseBreaker", answer)
    assert fleetctl("breaker", "release").out == (
        "lost hosts are replaced for the next 10:00; 38 hosts waited for it\n"
    )
    fleetctl("breaker", "release", "--for", "90s")
    assert [one.seconds for one in controller.asked("ReleaseBreaker")] == [600.0, 90.0]


@pytest.mark.parametrize("text", ["0s", "10", "8d", "-1m", "1e9s", "m"])
def test_times_are_read_strictly(fleetctl: Fleetctl, text: str) -> None:
    assert fleetctl("breaker", "release", f"--for={text}").code == 2
