"""What fleetctl vms run asks of the controller, and makes of the answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet.guest_commands.answers import Answer
from fleet.transport import Refusal
from fleet.v1 import commands_pb2 as wire
from fleet.v1 import types_pb2 as types
from tests.processes.controller_double import ControllerDouble
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]
KERNEL = Answer.ended(0, b"6.12.117\n", 100)


def group(number: int, start: int, stop: int, answer: Answer | None = None) -> wire.OutcomeGroup:
    indices = [types.IndexRange(start=start, stop=stop)]
    return wire.OutcomeGroup(
        number=number, indices=indices, text=answer.message() if answer else None
    )


def said(*groups: wire.OutcomeGroup, done: int = 1000, **fields: Any) -> wire.RunInFleetAnswer:
    return wire.RunInFleetAnswer(
        groups=groups, vms=1000, vms_done=done, hosts=4, hosts_done=4, **fields
    )


def test_equal_answers_are_one_line_those_of_most_vms_first(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    silent = Answer(wire.COMMAND_OUTCOME_NO_ANSWER)
    first = said(group(1, 0, 500, KERNEL), group(2, 500, 502, silent), done=502)
    controller.streams["RunInFleet"] = [first, said(group(1, 502, 1000))]
    ran = fleetctl("vms", "run", "spv", "--", "uname", "-r")
    assert ran.code == 1
    assert ran.out == "998 VMs: 6.12.117\n2 VMs (500-501): no answer in 10 s\n"
    assert "1,000 VMs on 4 hosts in " in ran.err and "998 exit 0, 2 no answer" in ran.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("uname", "-r"), "uname -r"),
        (("echo", "two words"), "echo 'two words'"),
        (("df / | tail -1",), "df / | tail -1"),
    ],
)
def test_words_are_run_as_they_are_and_one_alone_is_a_line_of_shell(
    fleetctl: Fleetctl, controller: ControllerDouble, words: tuple[str, ...], line: str
) -> None:
    controller.streams["RunInFleet"] = [said(group(1, 0, 1000, KERNEL))]
    fleetctl(
        "vms", "run", "spv", "--index", "0-9", "--selector", "rack=r7", "--host", "h1", "--state",
        "running", "--timeout", "2m", "--user", "joe", "--output-bytes", "9", "--", *words,
    )  # fmt: skip
    (asked,) = controller.asked("RunInFleet")
    command = asked.command
    assert (command.line, command.user, command.timeout_ms) == (line, "joe", 120_000)
    assert command.output_bytes == 9 and asked.state == types.VM_STATE_RUNNING
    assert (asked.fleet, asked.host, dict(asked.host_selector)) == ("spv", "h1", {"rack": "r7"})
    assert [(one.start, one.stop) for one in asked.indices] == [(0, 10)]


def test_nothing_that_a_guest_prints_steers_the_terminal(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    evil = Answer.ended(0, b"\x1b[2J\x07one\r\n\x9b31m\xff2 VMs: forged\n", 100)
    controller.streams["RunInFleet"] = [said(group(1, 0, 1000, evil))]
    out = fleetctl("vms", "run", "spv", "--", "x").out
    assert all(one.isprintable() or one == "\n" for one in out)
    # A line of a guest's is never at the beginning of one of ours.
    assert out.splitlines()[0] == "1,000 VMs:" and "\n2 VMs" not in out


def test_long_and_many_outputs_are_told_with_what_was_left_out(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    long, others = Answer.ended(3, b"x" * 5000, 10), Answer(KERNEL.outcome, 0, others=True)
    nothing = Answer.ended(0, b"", 10)
    controller.streams["RunInFleet"] = [
        said(group(1, 0, 1, long), group(2, 1, 100, others), group(3, 100, 1000, nothing))
    ]
    ran = fleetctl("vms", "run", "spv", "--", "x")
    assert ran.out.splitlines() == [
        "900 VMs: no output",
        "99 VMs (1-99): other outputs, which differ too much to be kept",
        "1 VM (spv-0), exit 3:",
        "  xxxxxxxxxx",
        f"  ... cut after 10 B of 4.9 KiB, SHA-256 {long.digest.hex()[:16]}",
    ]


def test_json_streams_answers_and_ends_with_the_counts(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    silent = Answer(wire.COMMAND_OUTCOME_HOST_SILENT)
    controller.streams["RunInFleet"] = [
        said(group(1, 0, 500, KERNEL), done=500),
        said(group(1, 500, 750), group(2, 750, 1000, silent), silent_hosts=["h4: no answer"]),
    ]
    ran = fleetctl("vms", "run", "spv", "-o", "json", "--", "uname")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [one["event"] for one in lines] == ["answered"] * 3 + ["done"]
    assert [one["vms"] for one in lines] == [500, 250, 250, 1000]
    assert lines[1]["output"] == "6.12.117\n" and lines[1]["indices"] == "500-749"
    assert lines[2]["exit_code"] is None and lines[2]["outcome"] == "host_silent"
    end = lines[3]
    assert end["outcomes"] == {"ended": 750, "host_silent": 250} and end["answers"] == 2
    assert end["exit_codes"] == {"0": 750} and end["silent_hosts"] == ["h4: no answer"]


def test_a_call_that_breaks_shows_what_was_answered_and_is_not_made_again(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.streams["RunInFleet"] = [said(group(1, 0, 300, KERNEL), done=300)]
    ran = fleetctl("vms", "run", "spv", "--", "uname")
    assert ran.code == 1
    assert ran.out == "300 VMs: 6.12.117\n" and "700 not asked to the end" in ran.err
    assert "before all VMs had answered" in ran.err
    assert len(controller.asked("RunInFleet")) == 1


def test_where_no_vm_is_meant_nothing_is_well(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.streams["RunInFleet"] = [wire.RunInFleetAnswer()]
    ran = fleetctl("vms", "run", "spv", "--selector", "rack=r0l", "--", "reboot")
    assert ran.code == 1 and "no VM of spv is meant by that: nothing was run" in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("vms", "run", "spv"),
        (
            "vms",
            "run",
            "spv",
            "--",
        ),
        ("vms", "run", "spv", "--index", "9-1", "--", "x"),
        ("vms", "run", "spv", "--timeout", "0", "--", "x"),
        ("vms", "run", "spv", "--output-bytes", "100000", "--", "x"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nobody_is_asked(
    fleetctl: Fleetctl, controller: ControllerDouble, words: tuple[str, ...]
) -> None:
    assert fleetctl(*words).code == 2
    assert not controller.asked("RunInFleet")


def test_what_the_controller_refuses_is_told_in_its_words(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    import grpc

    refused = Refusal(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED", "eve may not run commands")
    controller.streams["RunInFleet"] = [refused]
    assert "eve may not run commands" in fleetctl("vms", "run", "spv", "--", "x").err
