"""What fleetctl vms copy asks for out of VMs, and what of the answers comes to the folder."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.guest_commands.answers import Answer
from fleet.guest_commands.copies import PART_BYTES
from fleet.guest_commands.files_out import Leaving
from fleet.v1 import commands_pb2 as commands
from fleet.v1 import copies_pb2 as wire
from fleet.v1 import types_pb2 as types
from tests.processes.controller_double import ControllerDouble
from tests.processes.fleetctl.test_vms_run import group
from tests.processes.fleetctl_process import LIMIT_SECONDS, Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]
CONTENT = bytes(range(256)) * 300
NO_AGENT = Answer(commands.COMMAND_OUTCOME_NO_AGENT)


def said(*groups: commands.OutcomeGroup, done: int = 0, vms: int = 3) -> wire.CopyFromFleetAnswer:
    told = commands.RunInFleetAnswer(groups=groups, vms=vms, vms_done=done, hosts=2, hosts_done=2)
    return wire.CopyFromFleetAnswer(said=told)


def file(index: int, content: bytes = CONTENT, **end: Any) -> list[wire.CopyFromFleetAnswer]:
    leaving = Leaving(index)
    parts = [*leaving.add(content), leaving.last(**end)]
    return [wire.CopyFromFleetAnswer(part=part) for part in parts]


def answers(controller: ControllerDouble, *some: wire.CopyFromFleetAnswer) -> None:
    controller.streams["CopyFromFleet"] = list(some)


def test_each_vms_file_comes_under_its_name_of_those_that_were_chosen(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    answers(controller, said(), *(one for index in range(3) for one in file(index)), said(done=3))
    ran = fleetctl(
        "vms", "copy", "spv:/var/log/app.log", f"{folder}/", "--index", "0-2", "--max", "1MiB",
        "--selector", "rack=r7", "--host", "h1", "--state", "running", "--timeout", "2m",
    )  # fmt: skip
    assert (ran.code, ran.out) == (0, "3 VMs: copied\n")
    assert f"3 VMs on 2 hosts: at most 1.0 MiB of each, 3.0 MiB in all, into {folder}/" in ran.err
    assert "3 copied; 225 KiB into" in ran.err
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == {
        f"spv-{index}": CONTENT for index in range(3)
    }
    (asked,) = controller.asked("CopyFromFleet")
    told = asked.file
    assert (told.path, told.most_bytes, told.timeout_ms) == ("/var/log/app.log", 1 << 20, 120_000)
    assert (asked.fleet, asked.host, dict(asked.host_selector)) == ("spv", "h1", {"rack": "r7"})
    assert [(one.start, one.stop) for one in asked.indices] == [(0, 3)]
    assert asked.state == types.VM_STATE_RUNNING


def test_what_is_not_here_is_counted_by_reason_and_no_success(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path
) -> None:
    (tmp_path / "spv-1").write_text("as before")
    answers(
        controller, said(vms=5), *file(0, changed=True), *file(1), file(2)[0],
        said(group(1, 2, 4, NO_AGENT), done=4, vms=5), *file(4), said(done=5, vms=5),
    )  # fmt: skip
    ran = fleetctl("vms", "copy", "spv:/etc/motd", str(tmp_path))
    assert ran.code == 1
    assert ran.out.splitlines() == [
        "2 VMs: has no guest agent that answers",
        "1 VM (spv-0): copied: it changed while it was read",
        "1 VM (spv-1): a file of that name is here already; --force replaces it",
        "1 VM (spv-4): copied",
    ]
    assert "2 no agent, 2 copied, 1 failed" in ran.err
    assert (tmp_path / "spv-1").read_text() == "as before"
    assert {one for one in os.listdir(tmp_path) if one.startswith((".fleet", "spv"))} == {
        "spv-0", "spv-1", "spv-4",
    }  # fmt: skip
    answers(controller, said(vms=1), *file(1), said(done=1, vms=1))
    assert fleetctl("vms", "copy", "spv:/etc/motd", str(tmp_path), "--force").code == 0
    assert (tmp_path / "spv-1").read_bytes() == CONTENT


def test_json_streams_files_and_ends_with_the_counts(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path
) -> None:
    folder = str(tmp_path / "out")
    answers(controller, said(), *file(0), *file(1), said(group(1, 2, 3, NO_AGENT), done=3))
    ran = fleetctl("vms", "copy", "spv:/etc/motd", folder, "-o", "json")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [one["event"] for one in lines] == ["begun", "file", "file", "answered", "done"]
    assert lines[0] == {
        "event": "begun", "vms": 3, "hosts": 2, "path": "/etc/motd", "most_bytes": 16 << 20,
        "most_bytes_in_all": 48 << 20,
    }  # fmt: skip
    digest = file(0)[-1].part.end.digest.hex()
    assert lines[1] == {
        "event": "file", "vm": "spv-0", "index": 0, "file": f"{folder}/spv-0",
        "bytes": len(CONTENT), "sha256": digest, "changed": False,
    }  # fmt: skip
    assert lines[3]["outcome"] == "no_agent" and lines[4]["outcomes"] == {
        "copied": 2,
        "no_agent": 1,
    }
    assert (lines[4]["bytes"], lines[4]["folder"]) == (2 * len(CONTENT), folder)


@pytest.mark.parametrize(
    "lies",
    [
        [*file(0), *file(0)],
        [*file(7)],
        [*file(0), *file(1), *file(2), *file(3)],
        [wire.CopyFromFleetAnswer(part=wire.FilePart(index=0, data=b"short"))],
        [said(group(1, 0, 1, NO_AGENT)), *file(0)],
    ],
)
def test_a_controller_that_sends_what_cannot_be_is_told(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path,
    lies: list[wire.CopyFromFleetAnswer],
) -> None:  # fmt: skip
    answers(controller, said(), *lies, said(done=3))
    ran = fleetctl("vms", "copy", "spv:/etc/motd", str(tmp_path / "out"), "--index", "0-3")
    assert ran.code == 1 and "answer cannot be understood" in ran.err


def test_a_call_that_breaks_is_never_told_as_done_and_leaves_no_half_files(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path
) -> None:
    answers(controller, said(), *file(0), file(1)[0])
    ran = fleetctl("vms", "copy", "spv:/etc/motd", str(tmp_path / "out"))
    assert ran.code == 1 and "before it was known of all VMs" in ran.err
    assert os.listdir(tmp_path / "out") == ["spv-0"]
    # However many the controller counts.
    answers(controller, said(), *file(2), said(done=3))
    assert fleetctl("vms", "copy", "spv:/etc/motd", str(tmp_path / "out")).code == 1


def test_ctrl_c_leaves_no_half_files(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path
) -> None:
    class Held(list[Any]):
        """Says no more after the first part of the second file."""

        def __iter__(self) -> Iterator[Any]:
            yield from (said(), *file(0), file(1)[0])
            held.wait(LIMIT_SECONDS)

    held, folder = threading.Event(), tmp_path / "out"
    controller.streams["CopyFromFleet"] = Held()
    try:
        with fleetctl.start("vms", "copy", "spv:/etc/motd", str(folder)) as process:
            seen = threading.Event()

            def half() -> bool:
                names = os.listdir(folder) if folder.exists() else []
                return len(names) == 2 and "spv-0" in names

            while not half():
                assert process.poll() is None
                seen.wait(0.01)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=LIMIT_SECONDS)
    finally:
        held.set()
    assert process.returncode == 130 and "Traceback" not in err
    assert out.startswith("1 VM: copied") and os.listdir(folder) == ["spv-0"]


@pytest.mark.parametrize(
    "words",
    [
        ("spv:/etc/motd", "spv:/etc/motd"),
        ("spv:/etc/motd", "out", "--mode", "644"),
        ("spv:/etc/", "out"),
        (":/etc/motd", "out"),
        ("a b:/etc/motd", "out"),
        ("spv:/etc/motd", "out", "--max", "0"),
        ("spv:/etc/motd", "out", "--max", "2GiB"),
        ("motd", "spv:/etc/motd", "--force"),
        ("motd", "spv:/etc/motd", "--max", "1MiB"),
        ("./spv:/etc/motd", "out"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nobody_is_asked(
    fleetctl: Fleetctl, controller: ControllerDouble, words: tuple[str, ...]
) -> None:
    assert fleetctl("vms", "copy", *words).code == 2
    assert not controller.asked("CopyFromFleet") and not controller.asked("CopyIntoFleet")


def test_parts_are_as_long_as_on_the_wire() -> None:
    assert len(file(0)) == 2 and len(file(0)[0].part.data) == PART_BYTES
