"""A VM of a real sandbox that boots where a clone was asked for: people are told, and why."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet.template.clones import templates_folder
from fleetctl.sandbox.processes.parts import AGENT
from tests.real.real_sandbox import sandbox, until, why_not_here

pytestmark = [
    pytest.mark.real_long,
    pytest.mark.skipif(bool(why_not_here()), reason=why_not_here() or "it runs here"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system that is full"),
]


@contextmanager
def no_room(folder: Path) -> Iterator[None]:
    """Templates have 32 MiB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_vms_show_and_apply_say_why_a_vm_was_not_cloned(tmp_path: Path) -> None:
    with sandbox(tmp_path, "clones-told") as real:
        real.up("--real", "1")
        fleet, vm = real.real.fleet, real.vm(0)
        shown = real.asked("vms", "show", vm)
        assert (shown["start"], shown["started"], shown["not_cloned"]) == ("clone", "clone", None)
        real.fleetctl("scale", fleet, "--total", "0")
        templates = Path(templates_folder(real.folder.state_of(AGENT) / "ledger"))
        until(lambda: not list(templates.iterdir()), "the template has gone with its last clone")
        with no_room(templates):
            real.fleetctl("scale", fleet, "--total", "1")
            shown = real.asked("vms", "show", vm)
            assert (shown["state"], shown["start"], shown["started"]) == (
                "running",
                "clone",
                "boot",
            )
            why = shown["not_cloned"]
            assert "MiB left, and a template takes 80 MiB" in why
            assert f"not cloned       {why}" in real.fleetctl("vms", "show", vm)
            file = str(real.folder.path / "fleet.yaml")
            assert f"not cloned: 1 VM of it booted: {why}" in real.fleetctl("apply", "-f", file)
            # It boots for as long as it is not started again.
            real.fleetctl("scale", fleet, "--total", "0")
