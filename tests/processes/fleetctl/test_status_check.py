"""fleetctl status --check: one line and an exit code, whatever happens."""

from __future__ import annotations

import time
from dataclasses import replace

import grpc
import pytest

from fleet.transport import Refusal
from tests.processes.controller_double import ControllerDouble, status
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]


@pytest.mark.parametrize(
    ("failed", "code", "word"), [(0, 0, "OK"), (3, 1, "WARNING"), (500, 2, "CRITICAL")]
)
def test_the_exit_code_says_how_the_cluster_is(
    fleetctl: Fleetctl, controller: ControllerDouble, failed: int, code: int, word: str
) -> None:
    controller.on("Status", status(running=1000 - failed, failed=failed))
    said = fleetctl.process("status", "--check")
    assert (said.code, said.err) == (code, "")
    assert said.out.startswith(f"MEGAFLEET {word} - ") and said.out.count("\n") == 1
    told = fleetctl("status", "spv", "--check", "-o", "json")
    assert (told.code, told.json["code"], told.json["check"]) == (code, code, word)


@pytest.mark.parametrize(
    "arguments", [("status", "--check", "--wrong"), ("status", "A fleet!", "--check")]
)
def test_a_mistake_of_the_command_line_is_unknown(
    fleetctl: Fleetctl, arguments: tuple[str, ...]
) -> None:
    said = fleetctl(*arguments)
    assert said.code == 3 and said.out.startswith("MEGAFLEET UNKNOWN - ")


def test_a_fleet_that_is_not_there_is_unknown(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    refusal = Refusal(grpc.StatusCode.NOT_FOUND, "NO_SUCH_FLEET", "there is no fleet 'web'")
    controller.on("Status", refusal)
    said = fleetctl("status", "web", "--check")
    assert (said.code, said.out) == (3, "MEGAFLEET UNKNOWN - there is no fleet 'web'\n")


def test_that_no_controller_leads_is_critical(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    code = grpc.StatusCode.FAILED_PRECONDITION
    controller.on("Status", Refusal(code, "NOT_LEADER", "no controller leads: no quorum"))
    said = fleetctl("status", "--check", "--request-timeout", "0.5")
    assert said.code == 2
    assert said.out == "MEGAFLEET CRITICAL - no controller leads: no quorum\n"


def test_nobody_there_is_unknown_and_so_is_no_cluster(fleetctl: Fleetctl) -> None:
    began = time.monotonic()
    said = replace(fleetctl, endpoints=("127.0.0.1:1",)).process("status", "--check")
    assert said.code == 3 and "nothing listens there" in said.out
    assert time.monotonic() - began < 20
    said = replace(fleetctl, endpoints=()).process("status", "--check")
    assert said.code == 3 and said.out.startswith("MEGAFLEET UNKNOWN - no cluster is named")


def test_a_controller_that_says_nothing_is_unknown_within_the_deadline(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    def silent(_: object) -> object:
        controller.watched.wait(20)
        return status()

    controller.on("Status", silent)
    try:
        said = fleetctl("status", "--check", "--request-timeout", "0.3")
    finally:
        controller.watched.set()
    assert said.code == 3 and "no answer" in said.out
