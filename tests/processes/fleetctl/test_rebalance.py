"""fleetctl rebalance: what it asks, what it prints, and every way in which it may end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import grpc
import pytest

from fleet.transport import Refusal
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import rebalance_pb2 as wire
from fleetctl.outcome import ExitCode
from tests.processes.controller_double import ControllerDouble, status
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]

HOSTS = (("h1", 3, 2, 0), ("h2", 1, 0, 0), ("h3", 0, 0, 4))
PLAN = wire.RebalancePlan(
    fleets=[
        wire.FleetRebalance(
            fleet="spv", vms=4, must=2, from_hosts=2, to_hosts=1, above_per_host=3, unplaced=1,
            why="3 hosts are full at 8 each\x1b[2J",
            hosts=[
                wire.RebalancedHost(host=host, leave=leave, must_leave=must, come=come)
                for host, leave, must, come in HOSTS
            ],
        )
    ],
    token="abc", vms=4, from_hosts=2, to_hosts=1, at_once=250,
)  # fmt: skip
LEVEL = wire.RebalancePlan(token="none", at_once=250)


def under_way(left: int) -> cluster.StatusResponse:
    told = status(running=1000)
    told.fleets[0].misplaced = left
    told.fleets[0].rebalance.CopyFrom(
        wire.RebalanceStatus(planned=4, left=left, moving=min(left, 2))
    )
    return told


@pytest.fixture
def controller() -> Iterator[ControllerDouble]:
    with ControllerDouble() as double:
        double.on("PlanRebalance", PLAN)
        double.on("Rebalance", PLAN)
        double.statuses = [under_way(4), under_way(1), status()]
        yield double


def test_a_plan_says_how_many_move_from_where_to_where_and_why(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    assert fleetctl("rebalance", "spv", "--plan", "--only-bounds").out == (
        "spv: 4 VMs would move, from 2 hosts to 1 host\n"
        "  - 3 VMs are beyond per_host\n"
        "  - 2 VMs to make hosts level\n"
        "  - 1 of these fits nowhere else: 3 hosts are full at 8 each\\x1b[2J\n"
        "  HOST  LEAVE  MUST  COME\n"
        "  h1        3     2     0\n"
        "  h2        1     0     0\n"
        "  h3        0     0     4\n"
        "\n"
        "Each VM that moves is made anew elsewhere: what is on its disk is lost. It runs\n"
        "where it is until the other host has it prepared. At most 250 are moved\n"
        "at once, drains included.\n"
        "\n"
        "To do exactly this, and be refused if anything has changed meanwhile:\n"
        "  fleetctl rebalance spv --apply --only-bounds --token abc\n"
    )
    (asked,) = controller.asked("PlanRebalance")
    assert (asked.fleet, asked.only_bounds) == ("spv", True)
    assert not controller.asked("Rebalance")


def test_a_plan_is_also_for_scripts(fleetctl: Fleetctl) -> None:
    told = fleetctl("rebalance", "--plan", "-o", "json").json
    assert (told["vms"], told["token"], told["at_once"]) == (4, "abc", 250)
    (one,) = told["fleets"]
    assert (one["must"], one["unplaced"], one["hosts"][0]["must_leave"]) == (2, 1, 2)


def test_it_is_followed_until_nothing_is_left(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("PlanRebalance", LEVEL)
    said = fleetctl("rebalance", "spv", "--apply", "--token", "abc")
    assert (said.code, said.out) == (0, "spv: rebalanced, 4 VMs moved\n")
    (asked,) = controller.asked("Rebalance")
    assert (asked.fleet, asked.plan_token) == ("spv", "abc")
    controller.statuses = [status()]
    told = fleetctl("rebalance", "spv", "--apply", "--yes", "-o", "json").json
    assert told["done"] is True and told["vms"] == 4


def test_it_asks_first(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    said = fleetctl("rebalance", "spv", "--apply")
    assert said.code == ExitCode.USAGE and "give --yes" in said.err
    assert not controller.requests


def test_one_that_was_stopped_meanwhile_is_no_success(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    said = fleetctl("rebalance", "spv", "--apply", "--yes")
    assert said.code == ExitCode.FAILED and "4 VMs would still move" in said.err


class StatusesWithoutEnd(list[cluster.StatusResponse | Refusal]):
    """The same one again and again."""

    def __iter__(self) -> Iterator[cluster.StatusResponse | Refusal]:
        pause = threading.Event()
        while not pause.wait(0.1):
            yield under_way(3)


def test_ctrl_c_ends_the_watching_alone(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.statuses = StatusesWithoutEnd()
    with fleetctl.start("rebalance", "spv", "--apply", "--yes") as process:
        assert process.stderr
        line = process.stderr.readline()
        assert line == "spv: 1 of 4 VMs moved, 2 on their way\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == ExitCode.NOT_CONVERGED
    assert "the rebalance goes on: spv: 1 of 4 VMs moved" in err and "Traceback" not in err
    assert not controller.asked("StopRebalance")


def test_without_waiting_it_says_how_to_look(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    said = fleetctl("rebalance", "--apply", "--yes", "--no-wait")
    assert said.out == "4 VMs to move; 'fleetctl status' shows how far it is\n"
    controller.on("Rebalance", LEVEL)
    assert fleetctl("rebalance", "--apply", "--yes").out.startswith("nothing is to be moved")


def test_it_is_stopped(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("StopRebalance", wire.StopRebalanceResponse(fleets=["spv", "web"]))
    said = fleetctl("rebalance", "--stop")
    assert said.out.startswith("spv: its rebalance is stopped") and "\nweb: " in said.out
    assert fleetctl("rebalance", "--stop", "-o", "json").json["stopped"] == ["spv", "web"]


@pytest.mark.parametrize("options", [(), ("--plan", "--apply"), ("--plan", "--stop")])
def test_one_of_three_is_meant(
    fleetctl: Fleetctl, controller: ControllerDouble, options: tuple[str, ...]
) -> None:
    said = fleetctl("rebalance", "spv", *options)
    assert said.code == ExitCode.USAGE and "--plan, --apply and --stop" in said.err
    assert not controller.requests


def test_a_stale_plan_and_an_older_controller_are_told_in_one_sentence(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    stale = Refusal(grpc.StatusCode.ABORTED, "STALE_PLAN", "look at a new one")
    controller.on("Rebalance", stale)
    said = fleetctl("rebalance", "--apply", "--token", "old")
    assert (said.code, said.told) == (1, "fleetctl: look at a new one\n")
    old = Refusal(grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED", "not yet")
    controller.on("PlanRebalance", old)
    assert fleetctl("rebalance", "--plan").code == ExitCode.FAILED


def test_status_says_how_to_mend_what_stands_where_it_should_not(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = status()
    answer.fleets[0].misplaced = 3
    controller.on("Status", answer)
    said = fleetctl("status", "spv").out
    assert "3 misplaced" in said
    assert (
        "misplaced    3 VMs stand where they no longer should: 'fleetctl rebalance spv --plan'"
        in said
    )
    controller.on("Status", under_way(3))
    assert "rebalance    1 of 4 VMs moved, 2 on their way" in fleetctl("status", "spv").out
    told = fleetctl("status", "spv", "-o", "json").json["fleets"][0]
    assert told["misplaced"] == 3 and told["rebalance"]["left"] == 3
