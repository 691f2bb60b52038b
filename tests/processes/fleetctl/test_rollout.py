"""fleetctl rollout: canaries, promotions, holds and ways back, and how watching them ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fleet.v1 import cluster_pb2 as cluster
from tests.processes.controller_double import ControllerDouble, status
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]
WAITS = "50 of 50 canaries run; they wait for 'fleetctl rollout promote spv'"


def rollout(state: str, done: int = 50, left: int = 950, **fields: Any) -> cluster.RolloutStatus:
    return cluster.RolloutStatus(
        fleet="spv", from_generation=1, to_generation=2, state=state, done=done, left=left,
        **{"canaries": 50, **fields},
    )  # fmt: skip


def seen(shown: cluster.RolloutStatus) -> cluster.StatusResponse:
    answer = status()
    answer.fleets[0].rollout.CopyFrom(shown)
    return answer


@pytest.fixture
def controller() -> Iterator[ControllerDouble]:
    with ControllerDouble() as double:
        double.on("Rollout", rollout("canary", done=0, left=1000))
        yield double


def test_a_start_with_canaries_is_watched_until_they_wait_for_a_word(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    ready = rollout("canary", canaries_made=50, awaits_word=True, message=WAITS)
    controller.statuses = [seen(rollout("canary", done=20, left=980)), seen(ready)]
    said = fleetctl("rollout", "start", "spv", "--canary", "5%", "--yes")
    assert said.code == 0 and WAITS in said.out
    (asked,) = controller.asked("Rollout")
    assert asked.action == cluster.RolloutRequest.ACTION_CANARY
    assert (asked.canaries, asked.canary_share, asked.promote_after_seconds) == (0, 0.05, 0)


def test_one_that_is_promoted_by_itself_is_watched_to_its_end(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.statuses = [
        seen(rollout("canary")),
        seen(rollout("running")),
        seen(rollout("done", done=1000, left=0)),
    ]
    said = fleetctl(
        "rollout", "start", "spv", "--canary", "50", "--promote-after", "30m", "--undo-on-halt",
        "--yes",
    )  # fmt: skip
    assert said.code == 0 and "done: 1,000 VMs" in said.out
    (asked,) = controller.asked("Rollout")
    assert (asked.canaries, asked.promote_after_seconds, asked.undo_on_halt) == (50, 1800, True)


def test_without_canaries_it_is_the_start_that_older_controllers_know(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.statuses = [seen(rollout("done", done=1000, left=0))]
    controller.on("Rollout", rollout("running", canaries=0))
    assert fleetctl("rollout", "start", "spv", "--yes").code == 0
    (asked,) = controller.asked("Rollout")
    assert asked.action == cluster.RolloutRequest.ACTION_START and not asked.canaries


def test_a_plan_says_how_many_come_first_and_what_the_rest_waits_for(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    said = fleetctl("rollout", "start", "spv", "--canary", "50", "--plan")
    assert said.code == 0 and "1,000 VMs would be made anew" in said.out
    assert "50 canaries first, and the rest once 'fleetctl rollout promote spv' says so" in said.out


@pytest.mark.parametrize(
    ("words", "action", "generation"),
    [
        (("promote", "spv", "--yes", "--no-wait"), "PROMOTE", 0),
        (("hold", "spv"), "HOLD", 0),
        (("hold", "spv", "--new-vms", "2"), "HOLD", 2),
        (("back", "spv", "--to", "1", "--yes", "--no-wait"), "BACK", 1),
    ],
)
def test_what_is_asked_for(
    fleetctl: Fleetctl,
    controller: ControllerDouble,
    words: tuple[str, ...],
    action: str,
    generation: int,
) -> None:
    assert fleetctl("rollout", *words).code == 0
    (asked,) = controller.asked("Rollout")
    assert asked.action == cluster.RolloutRequest.Action.Value(f"ACTION_{action}")
    assert asked.generation == generation


def test_a_hold_says_what_further_vms_get(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("Rollout", rollout("held", further_generation=2))
    said = fleetctl("rollout", "hold", "spv", "--new-vms", "2")
    assert "held" in said.out and "further VMs get generation 2" in said.out
    told = fleetctl("rollout", "status", "spv", "-o", "json").json
    assert (told["state"], told["further_generation"]) == ("held", 2)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("start", "spv", "--promote-after", "30m"), "give --canary as well"),
        (("start", "spv", "--canary", "0"), "neither a number of VMs nor a share"),
        (("start", "spv", "--canary", "5%", "--promote-after", "soon"), "no time up to 7d"),
        (("back", "spv"), "--to"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    fleetctl: Fleetctl, controller: ControllerDouble, words: tuple[str, ...], sentence: str
) -> None:
    said = fleetctl("rollout", *words, "--yes")
    assert said.code == 2 and sentence in said.err and not controller.asked("Rollout")
