"""What fleetctl vms copy asks of the controller, and makes of the answers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from fleet.guest_commands.answers import Answer
from fleet.v1 import commands_pb2 as wire
from fleet.v1 import types_pb2 as types
from tests.processes.controller_double import ControllerDouble
from tests.processes.fleetctl.test_vms_run import group, said
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]
CONTENT = bytes(range(256)) * 600
DIGEST = hashlib.sha256(CONTENT).digest()
COPIED = Answer(wire.COMMAND_OUTCOME_COPIED, digest=DIGEST)
NO_AGENT = Answer(wire.COMMAND_OUTCOME_NO_AGENT)


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "motd").write_bytes(CONTENT)
    return str(tmp_path / "motd")


def test_all_of_it_is_sent_with_its_digest_to_those_that_were_chosen(
    fleetctl: Fleetctl, controller: ControllerDouble, file: str
) -> None:
    controller.streams["CopyIntoFleet"] = [said(group(1, 0, 1000, COPIED))]
    ran = fleetctl(
        "vms", "copy", file, "spv:/etc/motd", "--index", "0-9", "--selector", "rack=r7",
        "--host", "h1", "--state", "running", "--timeout", "2m", "--mode", "755",
    )  # fmt: skip
    assert ran.code == 0
    assert ran.out == f"1,000 VMs: copied, SHA-256 {DIGEST.hex()[:16]}\n"
    (asked,) = controller.asked("CopyIntoFleet")
    told = asked.file
    assert asked.data == CONTENT and (told.size, told.digest) == (len(CONTENT), DIGEST)
    assert (told.path, told.mode, told.timeout_ms) == ("/etc/motd", 0o755, 120_000)
    assert (asked.fleet, asked.host, dict(asked.host_selector)) == ("spv", "h1", {"rack": "r7"})
    assert [(one.start, one.stop) for one in asked.indices] == [(0, 10)]
    assert asked.state == types.VM_STATE_RUNNING


def test_equal_outcomes_are_one_line_and_where_it_is_not_is_no_success(
    fleetctl: Fleetctl, controller: ControllerDouble, file: str
) -> None:
    late = Answer(wire.COMMAND_OUTCOME_NO_ANSWER, reason="nothing was changed")
    controller.streams["CopyIntoFleet"] = [
        said(group(1, 0, 997, COPIED), group(2, 997, 999, NO_AGENT), group(3, 999, 1000, late))
    ]
    ran = fleetctl("vms", "copy", file, "spv:/etc/motd")
    assert ran.code == 1
    assert ran.out.splitlines() == [
        f"997 VMs: copied, SHA-256 {DIGEST.hex()[:16]}",
        "2 VMs (997-998): has no guest agent that answers",
        "1 VM (spv-999): no answer in 1:00: nothing was changed",
    ]
    assert "997 copied, 2 no agent, 1 no answer" in ran.err


def test_a_digest_that_is_not_that_of_the_file_is_no_success(
    fleetctl: Fleetctl, controller: ControllerDouble, file: str
) -> None:
    other = Answer(wire.COMMAND_OUTCOME_COPIED, digest=b"x" * 32)
    controller.streams["CopyIntoFleet"] = [said(group(1, 0, 1000, other))]
    assert fleetctl("vms", "copy", file, "spv:/etc/motd").code == 1


def test_json_streams_outcomes_and_ends_with_the_counts(
    fleetctl: Fleetctl, controller: ControllerDouble, file: str
) -> None:
    controller.streams["CopyIntoFleet"] = [
        said(group(1, 0, 500, COPIED), done=500),
        said(group(1, 500, 999), group(2, 999, 1000, NO_AGENT)),
    ]
    ran = fleetctl("vms", "copy", file, "spv:/etc/motd", "-o", "json")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [one["event"] for one in lines] == ["answered"] * 3 + ["done"]
    assert lines[1] == {
        "event": "answered", "vms": 499, "indices": "500-998", "outcome": "copied",
        "sha256": DIGEST.hex(), "reason": "",
    }  # fmt: skip
    assert lines[2]["sha256"] is None and lines[2]["outcome"] == "no_agent"
    end = lines[3]
    assert end["outcomes"] == {"copied": 999, "no_agent": 1} and end["path"] == "/etc/motd"
    assert (end["bytes"], end["sha256"]) == (len(CONTENT), DIGEST.hex())


def test_a_call_that_breaks_is_never_told_as_done(
    fleetctl: Fleetctl, controller: ControllerDouble, file: str
) -> None:
    controller.streams["CopyIntoFleet"] = [said(group(1, 0, 300, COPIED), done=300)]
    ran = fleetctl("vms", "copy", file, "spv:/etc/motd")
    assert ran.code == 1 and ran.out.startswith("300 VMs: copied")
    assert "700 not asked to the end" in ran.err
    assert len(controller.asked("CopyIntoFleet")) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("motd",),
        ("spv:etc/motd",),
        ("spv:/etc/",),
        ("spv:/etc/../motd",),
        ("spv:/etc/motd", "--mode", "999"),
        ("spv:/etc/motd", "--mode", "4755"),
        ("spv:/etc/motd", "--index", "9-1"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nobody_is_asked(
    fleetctl: Fleetctl, controller: ControllerDouble, file: str, words: tuple[str, ...]
) -> None:
    assert fleetctl("vms", "copy", file, *words).code == 2
    assert not controller.asked("CopyIntoFleet")


def test_a_file_that_is_too_long_or_not_there_is_refused_with_a_sentence(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path
) -> None:
    with open(tmp_path / "long", "wb") as long:
        long.truncate((16 << 20) + 1)
    ran = fleetctl("vms", "copy", str(tmp_path / "long"), "spv:/etc/motd")
    assert ran.code == 1 and "more than 16 MiB, which is the most that is copied" in ran.err
    ran = fleetctl("vms", "copy", str(tmp_path / "none"), "spv:/etc/motd")
    assert ran.code == 1 and "cannot be read: No such file" in ran.err
    assert not controller.asked("CopyIntoFleet")
