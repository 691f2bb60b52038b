"""fleetctl scale: waiting, and every way in which it may end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from fleet.transport import Refusal
from fleet.v1 import cluster_pb2 as cluster
from tests.processes.controller_double import ControllerDouble, accepted, status
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]


@pytest.fixture
def controller() -> Iterator[ControllerDouble]:
    with ControllerDouble() as double:
        double.on("Scale", accepted())
        double.statuses = [status(running=0), status(running=400), status()]
        yield double


def test_it_waits_until_all_vms_run(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    said = fleetctl("scale", "--total", "1000")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("spv: 1,000 VMs running on 4 hosts (1,000 VMs changed in ")
    (asked,) = controller.asked("Scale")
    assert (asked.fleet, asked.total, asked.plan_only, asked.partial) == ("", 1000, False, False)
    assert controller.peers == {"operator/alice"}


def test_json_is_one_object_at_the_end(fleetctl: Fleetctl) -> None:
    told = fleetctl("scale", "spv", "--total", "1000", "-o", "json").json
    assert told["outcome"] == "done" and told["adds"] == 1000 and told["change"] == 7
    assert told["status"]["states"]["running"] == 1000 and told["hosts"]["live"] == 4


def test_no_wait_returns_once_it_is_accepted(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    said = fleetctl("scale", "--total", "1000", "--no-wait")
    assert (said.code, said.out) == (0, "spv: accepted, 0 -> 1,000 VMs\n")
    assert not controller.asked("WatchStatus")


def test_an_earlier_status_is_not_taken_for_the_goal(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.statuses = [status(total=500, running=500, change=6), status()]
    said = fleetctl("scale", "--total", "1000")
    assert said.code == 0 and said.out.startswith("spv: 1,000 VMs running")


def test_a_timeout_is_exit_code_3(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.statuses = [status(running=400)]
    said = fleetctl("scale", "--total", "1000", "--timeout", "0.5")
    assert said.code == 3
    assert said.err.startswith("fleetctl: spv has not converged within 0.5 s, ")
    assert said.told.endswith("; it is still going on, see 'fleetctl status spv'\n")


def test_what_only_somebody_can_mend_is_named_and_is_exit_code_6(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    seen = status(running=997, failed=3, for_good=3)
    seen.fleets[0].problems.add(
        kind="image_missing", count=3, hosts=1, example="h1: no golden@1 here", lasting=True
    )
    seen.fleets[0].problems.add(kind="busy", count=1, hosts=1, example="h2: held open")
    controller.statuses = [status(running=400), seen]
    said = fleetctl("scale", "--total", "1000")
    assert said.code == 6
    assert said.told == (
        "fleetctl: 3 VMs of spv failed, and waiting does not mend it: image_missing: 3 VMs on "
        "1 host: h1: no golden@1 here. Mend that, then 'fleetctl vms retry spv --all'\n"
    )
    told = fleetctl("scale", "--total", "1000", "-o", "json").json
    assert told["outcome"] == "failed_for_good" and told["status"]["failed_for_good"] == 3
    assert [one["lasting"] for one in told["status"]["problems"]] == [True, False]


def test_ctrl_c_ends_watching_and_says_that_scaling_goes_on(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.statuses = [status(running=400)]
    with fleetctl.start("scale", "--total", "1000") as process:
        assert controller.watched.wait(30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 3
    assert out == ""
    assert err.startswith(
        "fleetctl: no longer watching; the scaling of spv to 1,000 is still going on, "
        "see 'fleetctl watch spv'\nfleetctl: change "
    )


@pytest.mark.parametrize(
    ("later", "says"),
    [
        (status(total=5, change=8, changed_by="operator/bob"),
         "superseded by operator/bob: the total of spv is 5 by now"),
        (status(deleting=True, change=8, changed_by="operator/bob"),
         "superseded by operator/bob: spv is being deleted"),
    ],
)  # fmt: skip
def test_a_later_change_by_somebody_else_is_told(
    fleetctl: Fleetctl, controller: ControllerDouble, later: object, says: str
) -> None:
    controller.statuses = [status(running=1), later]  # type: ignore[list-item]
    said = fleetctl("scale", "--total", "1000")
    assert (said.code, said.told) == (1, f"fleetctl: {says}\n")


def test_partial_is_done_when_what_fits_runs(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.statuses = [status(running=500, unplaced=400), status(running=600, unplaced=400)]
    said = fleetctl("scale", "--total", "1000", "--partial")
    assert said.code == 0
    assert said.out.startswith("spv: 600 VMs running on 4 hosts; 400 fit nowhere (")
    assert controller.asked("Scale")[0].partial


@pytest.mark.parametrize("total", ["-1", "16777217", "1e6", "", "x", "9" * 5000, "1.0", "½"])
def test_totals_that_cannot_be_are_refused_before_any_call(
    fleetctl: Fleetctl, controller: ControllerDouble, total: str
) -> None:
    said = fleetctl("scale", "--total", total)
    assert said.code == 2 and said.err.startswith("fleetctl: Invalid value for '--total': ")
    assert said.err.count("\n") == 1 and not controller.requests


@pytest.mark.parametrize(
    ("code", "reason", "says"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "BEYOND_CAPACITY", "20 do not fit; 10 would"),
        (grpc.StatusCode.NOT_FOUND, "NO_FLEET", "there is no fleet 'spv'"),
        (grpc.StatusCode.FAILED_PRECONDITION, "STALE_PLAN", "the plan is stale"),
    ],
)
def test_what_the_controller_refuses_is_exit_code_1(
    fleetctl: Fleetctl, controller: ControllerDouble, code: grpc.StatusCode, reason: str, says: str
) -> None:
    controller.on("Scale", Refusal(code, reason, says))
    said = fleetctl("scale", "--total", "20", "--token", "abc")
    assert (said.code, said.err, said.out) == (1, f"fleetctl: {says}\n", "")
    assert controller.asked("Scale")[0].plan_token == "abc"


def test_plan_shows_and_changes_nothing(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    for arguments in (["plan"], ["scale", "--plan"]):
        said = fleetctl(*arguments, "--total", "1000")
        assert said.code == 0
        assert "  1,000      0        0         0              4\n" in said.out
        assert "fleetctl scale spv --total 1000 --token t0ken" in said.out
        assert controller.asked("Scale")[-1].plan_only
    assert fleetctl("plan", "--total", "1000", "-o", "json").json["token"] == "t0ken"


def test_it_goes_on_with_the_replica_that_takes_over(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path
) -> None:
    with ControllerDouble(name="c2") as other:
        other.statuses = [status()]
        standing_by = Refusal(
            grpc.StatusCode.FAILED_PRECONDITION,
            "NOT_LEADER",
            "this replica stands by",
            {"leader_address": other.endpoint},
        )
        controller.statuses = [status(running=400), standing_by, status(running=401)]
        said = fleetctl("scale", "--total", "1000")
        assert said.code == 0 and said.out.startswith("spv: 1,000 VMs running")
        assert other.asked("WatchStatus")


def test_it_waits_for_a_controller_that_comes_back(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.statuses = [status(running=400)]
    with fleetctl.start("scale", "--total", "1000") as process:
        assert controller.watched.wait(30)
        controller.stop()
        patience = threading.Timer(60, process.kill)  # of a readline that has none
        patience.start()
        assert process.stderr and "still waiting" in process.stderr.readline()
        patience.cancel()
        with ControllerDouble(port=controller.port) as again:
            again.statuses = [status()]
            out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out.startswith("spv: 1,000 VMs running") and err == "the controller answers again\n"


def test_a_fleet_that_vanishes_meanwhile_is_told(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    gone = Refusal(grpc.StatusCode.NOT_FOUND, "NO_FLEET", "there is no fleet 'spv'")
    controller.statuses = [status(running=400), gone]
    said = fleetctl("scale", "--total", "1000")
    assert (said.code, said.told) == (1, "fleetctl: there is no fleet 'spv'\n")


def test_a_rollout_that_only_somebody_can_let_go_on_is_exit_code_6(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    running = cluster.RolloutStatus(fleet="spv", state="running", failed=5, left=900)
    controller.on("Rollout", running)
    going_on, stuck = status(running=995, failed=5), status(running=995, failed=5, for_good=5)
    going_on.fleets[0].rollout.CopyFrom(running)
    running.held_up, running.failed_for_good = True, 5
    stuck.fleets[0].rollout.CopyFrom(running)
    stuck.fleets[0].problems.add(
        kind="kernel", count=5, hosts=1, example="h1: no such kernel", lasting=True
    )
    controller.statuses = [going_on, stuck]
    said = fleetctl("rollout", "start", "spv", "--yes")
    assert said.code == 6 and "5 VMs of spv failed" in said.err and "kernel: 5 VMs" in said.err


@pytest.mark.parametrize("timeout", ["600", "8m", "90s", "2h", "1.5"])
def test_a_timeout_is_read_as_the_fleet_file_reads_durations(
    fleetctl: Fleetctl, timeout: str
) -> None:
    assert fleetctl("scale", "--total", "1000", "--timeout", timeout).code == 0


@pytest.mark.parametrize("timeout", ["0", "8d", "8 m", "m", "", "-1", "1e3"])
def test_a_timeout_that_is_no_time_is_refused(fleetctl: Fleetctl, timeout: str) -> None:
    said = fleetctl("scale", "--total", "1000", "--timeout", timeout)
    assert said.code == 2 and said.err.startswith("fleetctl: Invalid value for '--timeout': ")


def test_a_timeout_says_what_is_in_the_way(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    seen = status(running=400, unplaced=3)
    seen.fleets[0].unplaced_reasons.add(reason="capacity", count=3, message="3 VMs fit nowhere")
    controller.statuses = [seen]
    said = fleetctl("scale", "--total", "1000", "--timeout", "0.5")
    assert said.code == 3 and "600 VMs to go (3 VMs fit nowhere); it is still" in said.err


def held(until: float = 1_796_000_400.0) -> cluster.ScaleResponse:
    answer = accepted()
    schedule = answer.schedule
    schedule.held_until_unix, schedule.held_until_local = until, "2026-11-30T01:00+00:00"
    schedule.then_total, schedule.held_by = 80, "operator/alice"
    return answer


def test_a_total_for_a_time_says_until_when_and_what_then(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("Scale", held())
    said = fleetctl("scale", "spv", "--total", "1000", "--for", "2h", "--no-wait")
    assert said.code == 0
    assert said.out == "spv: accepted, 0 -> 1,000 VMs; until 2026-11-30T01:00+00:00, then 80 VMs\n"
    (asked,) = controller.asked("Scale")
    assert asked.for_seconds == 7200
    told = fleetctl("scale", "spv", "--total", "1000", "--for", "90s", "-o", "json").json
    assert told["schedule"]["held_until"]["total"] == 80


def test_an_older_controller_that_makes_it_the_total_for_good_is_told_of(
    fleetctl: Fleetctl,
) -> None:
    said = fleetctl("scale", "spv", "--total", "1000", "--for", "2h")
    assert said.code == 1
    assert "1,000 as its total, and not for a time alone: the controller is older" in said.err


@pytest.mark.parametrize("text", ["59s", "8d", "1.5s", "2", "soon"])
def test_a_time_that_cannot_be_is_refused_before_any_call(
    fleetctl: Fleetctl, controller: ControllerDouble, text: str
) -> None:
    assert fleetctl("scale", "spv", "--total", "1", "--for", text).code == 2
    assert not controller.asked("Scale")


def test_a_plan_of_it_names_the_command_that_does_it(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = accepted()
    answer.plan.token = "abc"
    controller.on("Scale", answer)
    said = fleetctl("scale", "spv", "--total", "1000", "--for", "2h", "--plan")
    assert "fleetctl scale spv --total 1000 --for 7200s --token abc" in said.out
