"""A recovery by fleetctl: shown before it is done, and what is still needed."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import ExitCode
from tests.processes.controller_double import UID, ControllerDouble
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]


def found(**fields: Any) -> cluster.RecoverFleet:
    return cluster.RecoverFleet(fleet="spv", uid=UID, total=8, running=10, adopted=10, **fields)


def plan_of(request: cluster.RecoverRequest) -> cluster.RecoverResponse:
    """What a controller says that waits for the total of spv."""
    confirmed = "spv" in request.totals
    return cluster.RecoverResponse(
        token="t0ken",
        fleets=[found(confirmed=confirmed, excess=2), cluster.RecoverFleet(problem="unnamed")],
        unseen_hosts=["h9"],
        frozen=request.plan_only or not confirmed,
        message="" if confirmed else "confirm the totals of spv",
        hosts=3,
        hosts_ahead=4,
    )


def test_a_recovery_is_shown_before_anything_is_done(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("Recover", plan_of)
    said = fleetctl("recover", "--plan")
    assert "4 hosts ahead of the store" in said.out and "anew of what runs there" in said.out
    assert "2 VMs above its total will be released afterwards" in said.out
    assert "still needed: confirm the totals of spv" in said.out and "  h9" in said.out
    told = fleetctl("recover", "--plan", "-o", "json").json
    assert (told["frozen"], told["unseen_hosts"], told["fleets"][0]["excess"]) == (True, ["h9"], 2)
    assert all(one.plan_only for one in controller.asked("Recover"))


def test_a_recovery_says_what_is_still_needed_and_the_exit_code_as_well(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("Recover", plan_of)
    said = fleetctl("recover", "--adopt", "--absent", "h9", "--yes")
    assert (said.code, said.out) == (
        ExitCode.NOT_CONVERGED,
        "remembered; changes stay frozen. Still needed: confirm the totals of spv\n",
    )
    done = controller.asked("Recover")[-1]
    assert (done.plan_token, list(done.absent_hosts), done.adopt) == ("t0ken", ["h9"], True)


def test_totals_as_shown_are_confirmed_together(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("Recover", plan_of)
    assert fleetctl("recover", "--adopt", "--keep-totals", "--yes").code == ExitCode.DONE
    assert dict(controller.asked("Recover")[-1].totals) == {"spv": 8}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "say how"),
        (("--adopt", "--confirm"), "exclude each other"),
        (("--adopt", "--total", "spv"), "write FLEET=NUMBER"),
        (("--adopt", "--total", "spv=-1"), "outside 0 to"),
        (("--adopt",), "no terminal to ask at: give --yes"),
    ],
)
def test_a_recovery_that_cannot_be_meant_is_not_asked_for(
    fleetctl: Fleetctl, controller: ControllerDouble, arguments: tuple[str, ...], sentence: str
) -> None:
    controller.on("Recover", plan_of)
    said = fleetctl("recover", *arguments)
    assert said.code == ExitCode.USAGE and sentence in said.err
    assert all(one.plan_only for one in controller.asked("Recover"))


def test_an_operator_begins_a_recovery_by_a_word(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("Recover", cluster.RecoverResponse(frozen=True))
    said = fleetctl("recover", "--begin", "etcd was lost", "--yes")
    assert (said.code, said.out) == (
        ExitCode.DONE,
        "changes are frozen; 'fleetctl recover --plan' shows what hosts have\n",
    )
    (asked,) = controller.asked("Recover")
    assert asked.begin == "etcd was lost"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--begin", "why", "--adopt", "--yes"), "--begin stands alone"),
        (("--begin", "why"), "no terminal to ask at: give --yes"),
    ],
)
def test_a_recovery_is_not_begun_by_mistake(
    fleetctl: Fleetctl, controller: ControllerDouble, arguments: tuple[str, ...], sentence: str
) -> None:
    said = fleetctl("recover", *arguments)
    assert said.code == ExitCode.USAGE and sentence in said.err
    assert not controller.asked("Recover")


def test_without_anything_newer_it_points_to_the_stores_own(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("Recover", cluster.RecoverResponse(token="t0ken", fleets=[found()]))
    said = fleetctl("recover", "--plan").out
    assert "nothing newer to adopt, and 'fleetctl recover --confirm' goes on" in said


def test_without_a_terminal_to_ask_at_nothing_is_asked_of_the_cluster(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("Recover", plan_of)
    said = fleetctl("recover", "--confirm")
    assert said.code == ExitCode.USAGE and said.err.startswith("fleetctl: recover asks first")
    assert "change" not in said.err and not controller.asked("Recover")
