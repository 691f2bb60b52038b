"""fleetctl wait: for fleets and hosts, and every way in which it may end."""

from __future__ import annotations

import signal
from dataclasses import replace

import grpc
import pytest

from fleet.transport import Refusal
from fleet.v1 import cluster_pb2 as cluster
from tests.processes.controller_double import ControllerDouble, status
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]

UNREACHABLE = cluster.HOST_HEALTH_UNREACHABLE
NO_HOST = Refusal(grpc.StatusCode.NOT_FOUND, "NO_SUCH_HOST", "there is no host 'h9'")


def host(health: cluster.HostHealth.ValueType, **more: str) -> cluster.HostDetail:
    return cluster.HostDetail(summary=cluster.HostSummary(id="h9", health=health, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("condition", ["running", "converged"])
def test_it_ends_once_the_fleet_is_so(
    fleetctl: Fleetctl, controller: ControllerDouble, condition: str
) -> None:
    controller.statuses = [status(running=0), status(running=400), status()]
    said = fleetctl("wait", "spv", "--for", condition)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("spv: 1,000 of 1,000 VMs running (after ")


def test_the_name_may_be_left_out_while_there_is_only_one(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("Status", status())
    controller.statuses = [status()]
    told = fleetctl("wait", "--for", "converged", "-o", "json").json
    assert (told["name"], told["for"], told["outcome"]) == ("spv", "converged", "done")
    assert told["status"]["states"]["running"] == 1000
    several = status()
    several.fleets.add(fleet="web")
    controller.on("Status", several)
    said = fleetctl("wait", "--for", "converged")
    assert (said.code, said.err) == (1, "fleetctl: name the fleet to wait for (spv, web)\n")


@pytest.mark.parametrize("timeout", ["0.5", "0.5s"])
def test_a_timeout_is_exit_code_3(
    fleetctl: Fleetctl, controller: ControllerDouble, timeout: str
) -> None:
    controller.statuses = [status(running=400)]
    said = fleetctl("wait", "spv", "--for", "running", "--timeout", timeout)
    assert said.code == 3
    assert said.err == (
        "fleetctl: not running after 0.5 s, spv: 400 of 1,000 VMs running; see 'fleetctl status "
        "spv'\n"
    )


@pytest.mark.parametrize("timeout", ["8", "8m", "2h", "7d"])
def test_times_are_as_people_write_them(
    fleetctl: Fleetctl, controller: ControllerDouble, timeout: str
) -> None:
    controller.statuses = [status()]
    assert fleetctl("wait", "spv", "--for", "running", "--timeout", timeout).code == 0


@pytest.mark.parametrize("timeout", ["0", "8 minutes", "8d", "-1", "inf", "9" * 400])
def test_times_that_are_none_are_refused(fleetctl: Fleetctl, timeout: str) -> None:
    said = fleetctl("wait", "spv", "--for", "running", "--timeout", timeout)
    assert said.code == 2 and said.err.count("\n") == 1


def test_it_ends_early_when_all_that_is_missing_has_failed_for_good(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    seen = status(running=997, failed=3, for_good=3)
    seen.fleets[0].problems.add(
        kind="image_missing", count=3, hosts=1, example="h1: no golden@1 here", lasting=True
    )
    controller.statuses = [seen]
    said = fleetctl("wait", "spv", "--for", "running")
    assert said.code == 6 and "image_missing: 3 VMs on 1 host: h1: no golden@1 here" in said.err
    told = fleetctl("wait", "spv", "--for", "running", "-o", "json")
    assert (told.code, told.json["outcome"]) == (6, "failed_for_good")


def test_a_fleet_that_is_not_there_or_goes_is_exit_code_1(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.statuses = [status(running=4, deleting=True)]
    said = fleetctl("wait", "spv", "--for", "converged")
    assert said.code == 1 and "spv is being deleted" in said.err
    refusal = Refusal(grpc.StatusCode.NOT_FOUND, "NO_SUCH_FLEET", "there is no fleet 'web'")
    controller.statuses = [refusal]
    said = fleetctl("wait", "web", "--for", "converged")
    assert (said.code, said.err) == (1, "fleetctl: there is no fleet 'web'\n")


def test_ctrl_c_ends_the_waiting_with_exit_code_3(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.statuses = [status(running=400)]
    with fleetctl.start("wait", "spv", "--for", "running") as process:
        assert controller.watched.wait(30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (3, "")
    assert err == "fleetctl: no longer waiting; nothing was changed\n"


def test_no_controller_at_all_is_exit_code_4(fleetctl: Fleetctl) -> None:
    nobody = replace(fleetctl, endpoints=("127.0.0.1:1",))
    for arguments in (("spv", "--for", "running"), ("h9", "--for", "host-live")):
        said = nobody("wait", *arguments, "--timeout", "0.5")
        assert said.code == 4 and "no controller answered within 0.5 s" in said.err


def test_it_goes_on_with_another_controller_when_one_ceases_to_lead(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    gone = Refusal(grpc.StatusCode.UNAVAILABLE, "LEADER_GONE", "this controller leads no more")
    controller.statuses = [status(running=400), gone]
    with ControllerDouble(name="c2") as other:
        other.statuses = [status()]
        both = replace(fleetctl, endpoints=(controller.endpoint, other.endpoint))
        said = both("wait", "spv", "--for", "running", "--timeout", "30")
    assert said.code == 0 and said.out.startswith("spv: 1,000 of 1,000 VMs running")


def test_a_host_is_waited_for_from_before_it_is_known_until_it_is_live(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.statuses = [status()] * 3
    controller.on("GetHost", host(cluster.HOST_HEALTH_LIVE))
    controller.refusing("GetHost", NO_HOST, 2)
    said = fleetctl("wait", "h9", "--for", "host-live")
    assert said.code == 0 and said.out.startswith("h9 is live (after ")
    assert len(controller.asked("GetHost")) == 3
    told = fleetctl("wait", "h9", "--for", "host-live", "-o", "json").json
    assert (told["outcome"], told["host"]["health"]) == ("done", "live")


def test_a_host_that_does_not_come_is_exit_code_3_and_says_how_it_is(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.statuses = [status()]
    controller.on("GetHost", host(UNREACHABLE, link_error="connection refused"))
    said = fleetctl("wait", "h9", "--for", "host-live", "--timeout", "0.5")
    assert said.code == 3
    assert said.err == (
        "fleetctl: h9 is unreachable: connection refused, after 0.5 s; see 'fleetctl hosts list'\n"
    )


def test_a_host_that_somebody_threw_out_is_exit_code_6(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.statuses = [status()]
    controller.on("GetHost", host(UNREACHABLE, expelled="it lies"))
    said = fleetctl("wait", "h9", "--for", "host-live")
    assert said.code == 6 and "fleetctl hosts readmit h9" in said.err


def test_a_host_is_to_be_named(fleetctl: Fleetctl) -> None:
    said = fleetctl("wait", "--for", "host-live")
    assert said.code == 2 and "needs the name of a host" in said.err
