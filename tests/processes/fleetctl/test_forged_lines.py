"""Whole commands, shown answers whose every text would forge a line or steer the terminal."""

from __future__ import annotations

import grpc
import pytest

from fleet.transport import Refusal
from tests.doubles.filled_messages import answers, filled
from tests.processes.controller_double import IDENTITY, ControllerDouble
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]

NASTY = "a\n\r\x1b]0;b\x07\x1b[2J\u202e\u2028c"
COMMANDS = {
    "Status": ("status",),
    "ListHosts": ("hosts",),
    "GetHost": ("hosts", "show", "h1"),
    "ListFleets": ("fleets",),
    "ListEvents": ("events",),
    "ListImages": ("images", "list"),
    "GetVm": ("vms", "show", "spv-1"),
    "Version": ("version",),
    "Doctor": ("doctor", "h1"),
}


@pytest.mark.parametrize("method", COMMANDS)
def test_no_text_of_an_answer_makes_a_line(
    method: str, fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    lines = []
    for text in ("a", NASTY):
        answer = filled(answers()[method], text)
        if method == "GetVm":
            answer.fleet.CopyFrom(IDENTITY)
        for verdict in answer.verdicts if method == "Doctor" else ():
            verdict.change = ""
        controller.on(method, answer)
        said = fleetctl(*COMMANDS[method])
        assert "internal error" not in said.err
        told = said.out + said.err
        assert all(line.isprintable() for line in told.split("\n")), ascii(told)
        lines.append((said.code, said.out.count("\n"), said.err.count("\n")))
    assert lines[0] == lines[1]


def test_a_refusal_is_one_line(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    refusal = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "BAD_QUERY", "no:\nfleetctl: done\x1b[2J")
    controller.on("Status", refusal)
    said = fleetctl("status")
    assert said.code == 1
    assert said.err.count("\n") == 1 and said.err.rstrip("\n").isprintable()


def test_json_keeps_what_was_said_escaped(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    answer = filled(answers()["ListEvents"], "a\nb\x1b[2J")
    controller.on("ListEvents", answer)
    said = fleetctl("events", "-o", "json")
    assert said.code == 0 and "\x1b" not in said.out and "a\\nb\\u001b[2J" in said.out
