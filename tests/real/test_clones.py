"""Copies of one real kernel: a template and six clones, typed to, adopted, mended, removed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fleet.template.clones import templates_folder
from fleetctl.sandbox.processes.parts import AGENT
from fleetctl.sandbox.real.clones import running
from fleetctl.sandbox.real.qemu_processes import kill, process_of
from fleetctl.sandbox.tour import boots
from tests.real.real_sandbox import RealSandbox, sandbox, until, why_not_here

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(why_not_here()), reason=why_not_here() or "it runs here"),
]
VMS = 6


def said_ready(real: RealSandbox, index: int) -> dict[str, str]:
    """What a clone says of itself once it is ready."""
    log = real.real.console_of(real.vm(index)).read_text(errors="replace")
    line = re.findall(r"megafleet: ready .*", log)[-1]
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def lives(real: RealSandbox) -> list[str]:
    """How each VM's present life was begun."""
    return [
        json.loads((Path(real.real.clones) / real.vm(index) / "life.json").read_bytes())["way"]
        for index in range(VMS)
    ]


def test_six_clones_are_each_themselves_outlive_their_agent_are_mended_and_leave_nothing(
    tmp_path: Path,
) -> None:
    with sandbox(tmp_path, "clones-short") as real:
        real.asked("sandbox", "up", "--name", real.name, "--real", str(VMS))
        first = real.qemus(VMS)
        assert None not in first.values() and real.domains() == set()
        assert lives(real) == ["clone"] * VMS

        # Each is another one: its name, machine id and random numbers, its disk, its clock.
        told = [said_ready(real, index) for index in range(VMS)]
        assert [one["name"] for one in told] == [real.vm(index) for index in range(VMS)]
        for what in ("machine_id", "random"):
            assert len({one[what] for one in told}) == VMS
        assert {one["boots"] for one in told} == {"1"}
        for index in (0, VMS - 1):
            vm = real.vm(index)
            answer = real.fleetctl("console", vm, typed="uname -a; date +at=%s\n")
            assert f"Linux {vm} " in answer
            now = int(re.findall(r"at=(\d+)", answer)[-1])
            assert abs(now - Path(tmp_path).stat().st_ctime) < 600
            assert real.disk_begins(vm)[:64].split()[:2] == [vm.encode(), b"1"]

        # The agent is killed, and the next adopts what runs.
        kill(real.pid("agent"))
        real.up()
        real.fleetctl("scale", real.real.fleet, "--total", str(VMS))
        assert real.qemus(VMS) == first

        # One QEMU is killed: its VM is copied again, and no other is.
        victim, before = real.vm(1), boots(real.real, real.vm(1))
        kill(first[victim] or 0)
        until(lambda: boots(real.real, victim) > before, f"{victim} runs again")
        real.fleetctl("scale", real.real.fleet, "--total", str(VMS))
        after = real.qemus(VMS)
        assert {vm for vm in first if first[vm] != after[vm]} == {victim}

        real.fleetctl("scale", real.real.fleet, "--total", "0")
        assert real.clones() == set() and all(process_of(vm) is None for vm in first)
        templates = Path(templates_folder(real.folder.state_of(AGENT) / "ledger"))
        clones = Path(real.real.clones)
        until(lambda: not list(templates.iterdir()), "the template has gone with its last clone")
        assert list(clones.iterdir()) == [] and running(clones) == []
    assert not templates.exists() and not clones.exists()
