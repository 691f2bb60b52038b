"""A sandbox of real VMs with a state folder of its own, and what this machine has of it."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetctl.sandbox.real import binding
from fleetctl.sandbox.real.domains import Virsh, own_domains
from fleetctl.sandbox.real.packages import missing_packages
from fleetctl.sandbox.real.qemu_processes import process_of
from fleetctl.sandbox.state.folder import Folder
from fleetctl.sandbox.state.record import RealHost

FLEETCTL = Path(sys.executable).with_name("fleetctl")
# For one command: emulated kernels on a machine that is busy with other tests.
DEADLINE = 600.0


def why_not_here() -> str:
    """Why real VMs cannot be tried on this machine; empty where they can."""
    if platform.machine() != "x86_64":
        return f"real VMs are built for x86_64, and this machine is {platform.machine()}"
    missing = missing_packages(binding.has_binding())
    return f"not installed here: {' '.join(missing)}" if missing else ""


def until(condition: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
    """Ask again until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)  # what is asked here, nothing announces


@dataclass(frozen=True)
class RealSandbox:
    """One of a name, in the state folder of `environment`."""

    name: str
    environment: dict[str, str]

    def fleetctl(self, *arguments: str, typed: str = "", code: int = 0) -> str:
        """What it says on stdout."""
        done = subprocess.run(
            [FLEETCTL, *arguments],
            env=self.environment | {"MEGAFLEET_CONTEXT": self.name},
            input=typed,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DEADLINE,
        )
        assert done.returncode == code, done.stdout + done.stderr + self._last_words()
        return done.stdout if not code else done.stderr

    def up(self, *arguments: str) -> None:
        self.fleetctl("sandbox", "up", "--name", self.name, *arguments)

    def down(self) -> None:
        self.fleetctl("sandbox", "down", "--name", self.name)

    def asked(self, *arguments: str) -> Any:
        return json.loads(self.fleetctl(*arguments, "-o", "json"))

    @property
    def folder(self) -> Folder:
        return Folder.of(self.name, self.environment)

    @property
    def real(self) -> RealHost:
        record = self.folder.load()
        assert record is not None and record.real is not None
        return record.real

    def pid(self, part: str) -> int:
        status = self.asked("sandbox", "status", "--name", self.name)
        return int(next(one["pid"] for one in status["processes"] if one["name"] == part))

    def vm(self, index: int) -> str:
        return f"{self.real.fleet}-{index}"

    def domains(self) -> set[str]:
        return set(own_domains(Virsh(self.real.uri), self.real.consoles))

    def qemus(self, count: int) -> dict[str, int | None]:
        """The QEMU of each of the first VMs; None where it has none."""
        return {self.vm(index): process_of(self.vm(index)) for index in range(count)}

    def clones(self) -> set[str]:
        return {one.name for one in (self.real.storage / "clones").iterdir()}

    def disk_begins(self, vm: str) -> bytes:
        """The first 512 bytes of its disk, read while it runs, whatever its clone is."""
        with tempfile.NamedTemporaryFile() as copy:
            clone = self.real.storage / "clones" / vm
            command = ["qemu-img", "dd", "-U", "-O", "raw", "bs=512", "count=1", f"if={clone}"]
            subprocess.run([*command, f"of={copy.name}"], check=True, timeout=60)
            return Path(copy.name).read_bytes()

    def _last_words(self) -> str:
        log = self.folder.log_of("agent")
        return log.read_text(errors="replace")[-2000:] if log.exists() else ""


@contextmanager
def sandbox(home: Path, name: str) -> Iterator[RealSandbox]:
    """Taken down in the end, whatever has become of it."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("MEGAFLEET_")
    }
    made = RealSandbox(
        name,
        environment
        | {"XDG_STATE_HOME": str(home / "state"), "MEGAFLEET_CONFIG": str(home / f"{name}.toml")},
    )
    with _libvirt_to_itself():
        try:
            yield made
        finally:
            made.down()


_sandboxes = 0  # of this process that are up, or on their way


@contextmanager
def _libvirt_to_itself() -> Iterator[None]:
    """The daemons of libvirt are the machine's: tests in two processes would start and stop them
    under one another. Sandboxes of one test share them."""
    global _sandboxes
    with (Path(tempfile.gettempdir()) / "megafleet-real-tests.lock").open("w") as file:
        if not _sandboxes:
            fcntl.flock(file, fcntl.LOCK_EX)
        _sandboxes += 1
        try:
            yield
        finally:
            _sandboxes -= 1
