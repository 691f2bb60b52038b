"""Real kernels on this machine, a few of them: booted, typed to, adopted, mended, removed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from fleetctl.sandbox.real.qemu_processes import kill, process_of
from fleetctl.sandbox.tour import boots
from tests.real.real_sandbox import sandbox, until, why_not_here

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(why_not_here()), reason=why_not_here() or "it runs here"),
]
VMS = 3


def test_three_kernels_boot_answer_outlive_their_agent_are_mended_and_leave_nothing(
    tmp_path: Path,
) -> None:
    with sandbox(tmp_path, "real-short") as real:
        up = real.asked("sandbox", "up", "--name", real.name, "--real", str(VMS), "--start", "boot")
        assert up["state"] == "up" and up["files"] == real.real.files and up["libvirt"]
        first = real.qemus(VMS)
        assert None not in first.values() and real.domains() == set(first)

        # Each has a disk of its own, and a console.
        for index in range(VMS):
            vm = real.vm(index)
            answer = real.fleetctl("console", vm, typed="uname -a\n")
            assert f"Linux {vm} " in answer and "x86_64" in answer
            assert real.disk_begins(vm)[:64].split()[:2] in ([vm.encode(), b"1"], [b"golden", b"0"])

        # One command in all of them is one answer.
        told = real.fleetctl("vms", "run", real.real.fleet, "--", "uname", "-r").splitlines()
        assert len(told) == 1 and told[0].startswith(f"{VMS} VMs: ")
        assert told[0].split()[-1] in answer
        failing = ("vms", "run", real.real.fleet, "--index", "1", "--", "exit 3")
        assert "1 exit 3" in real.fleetctl(*failing, code=1)

        # The agent is killed, and the next adopts what runs.
        os.kill(real.pid("agent"), signal.SIGKILL)
        real.up()
        real.fleetctl("scale", real.real.fleet, "--total", str(VMS))
        assert real.qemus(VMS) == first

        # One QEMU is killed: its VM is started again, and no other is.
        victim, before = real.vm(1), boots(real.real, real.vm(1))
        kill(first[victim] or 0)
        until(lambda: boots(real.real, victim) > before, f"{victim} boots again")
        real.fleetctl("scale", real.real.fleet, "--total", str(VMS))
        after = real.qemus(VMS)
        assert {vm for vm in first if first[vm] != after[vm]} == {victim}
        assert after[victim] is not None

        real.fleetctl("scale", real.real.fleet, "--total", "0")
        assert real.domains() == set() and real.clones() == set()
        assert all(process_of(vm) is None for vm in first)
        files = Path(real.real.files)
    assert not files.exists() and not real.folder.path.exists()
