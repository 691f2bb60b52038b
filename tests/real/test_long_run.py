"""Real kernels on this machine, for longer than make test takes: make real-test."""

from __future__ import annotations

import os
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest

from fleetctl.sandbox.real.qemu_processes import process_of
from tests.real.real_sandbox import DEADLINE, FLEETCTL, RealSandbox, sandbox, until, why_not_here

pytestmark = [
    pytest.mark.real_long,
    pytest.mark.skipif(bool(why_not_here()), reason=why_not_here() or "it runs here"),
]
VMS = 8


def test_an_agent_killed_while_vms_boot_ends_with_all_of_them_and_none_twice(
    tmp_path: Path,
) -> None:
    with sandbox(tmp_path, "real-killed") as real:
        real.up("--real", "1", "--start", "boot")
        fleet = real.real.fleet
        for _ in range(3):
            real.fleetctl("scale", fleet, "--total", str(VMS), "--no-wait")
            os.kill(real.pid("agent"), signal.SIGKILL)
            real.up()
        real.fleetctl("scale", fleet, "--total", str(VMS))
        qemus = real.qemus(VMS)
        assert None not in qemus.values() and real.domains() == set(qemus)
        assert real.clones() == set(qemus)


def test_two_sandboxes_on_one_libvirt_keep_apart(tmp_path: Path) -> None:
    with sandbox(tmp_path, "real-one") as one:
        one.up("--real", "1", "--start", "boot")
        with sandbox(tmp_path, "real-two") as two:
            two.up("--real", "1", "--start", "boot")
            assert one.real.fleet != two.real.fleet and one.real.files != two.real.files
            first, second = one.vm(0), two.vm(0)
            running = process_of(first)
            assert running is not None and process_of(second) is not None
            # What the other runs is nothing that this one may remove.
            two.fleetctl("scale", two.real.fleet, "--total", "0")
            assert process_of(second) is None
        assert process_of(first) == running and one.domains() == {first}


def test_a_sandbox_that_is_kept_lets_its_vms_go_on_and_the_next_up_adopts_them(
    tmp_path: Path,
) -> None:
    with sandbox(tmp_path, "real-kept") as real:
        real.up("--real", "2")
        first = real.qemus(2)
        real.fleetctl("sandbox", "down", "--name", real.name, "--keep")
        assert real.qemus(2) == first
        real.up()
        real.fleetctl("scale", real.real.fleet, "--total", "2")
        assert real.qemus(2) == first


def test_an_up_interrupted_before_its_host_is_live_leaves_nothing(tmp_path: Path) -> None:
    with sandbox(tmp_path, "real-interrupted") as real:
        # Whoever runs tests in the background has them ignore Ctrl-C.
        command = [
            "/usr/bin/env",
            "--default-signal=INT",
            str(FLEETCTL),
            "sandbox",
            "up",
            "--real",
            "1",
        ]
        with subprocess.Popen(
            [*command, "--name", real.name],
            env=real.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            until(real.folder.log_of("controller-1").exists, "its controller is started")
            files = Path(real.real.files)
            process.send_signal(signal.SIGINT)
            process.wait(DEADLINE)
        assert process.returncode == 130
        assert not files.exists() and not real.folder.path.exists()


def test_the_demo_shows_real_vms_and_leaves_nothing(tmp_path: Path) -> None:
    with sandbox(tmp_path, "demo") as real:
        said = real.fleetctl("sandbox", "demo", "--real", "2")
        assert "2 VMs running on 1 host" in said
        assert "Linux real" in said and "x86_64 GNU/Linux" in said
        assert "To try next" in said
        assert not real.folder.path.exists()


def test_two_sandboxes_of_clones_keep_apart(tmp_path: Path) -> None:
    """Two fleets from one guest: each has a template of its own."""
    with sandbox(tmp_path, "clones-one") as one:
        one.up("--real", "2")
        with sandbox(tmp_path, "clones-two") as two:
            two.up("--real", "2")
            assert one.real.fleet != two.real.fleet
            first, second = one.qemus(2), two.qemus(2)
            assert None not in first.values() and None not in second.values()
            two.fleetctl("scale", two.real.fleet, "--total", "0")
            assert set(two.qemus(2).values()) == {None}
        assert one.qemus(2) == first


def test_a_fleet_rolls_from_boot_to_clone_and_back(tmp_path: Path) -> None:
    with sandbox(tmp_path, "clones-rolled") as real:
        real.up("--real", "2", "--start", "boot")
        file = real.folder.path / "fleet.yaml"
        booted = file.read_text()
        assert real.domains() == {real.vm(0), real.vm(1)}
        for text, domains in (
            (booted.replace("start: boot", "start: clone"), set()),
            (booted, {real.vm(0), real.vm(1)}),
        ):
            file.write_text(text)
            real.fleetctl("apply", "-f", str(file))
            real.fleetctl("rollout", "start", real.real.fleet, "--yes", "--max-unavailable", "2")
            until(partial(_has_domains, real, domains), "all VMs are of the new way")
            real.fleetctl("scale", real.real.fleet, "--total", "2")
            assert None not in real.qemus(2).values()


def _has_domains(real: RealSandbox, domains: set[str]) -> bool:
    return real.domains() == domains
