"""The running lab, as its tests see it: through fleetctl, and over ssh with the dom0's tools."""

import json
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.identity import index_of

CHECKOUT = Path(__file__).resolve().parents[2]
SAMPLES = CHECKOUT / "deploy" / "samples"
POOL = "tank"
# Emulated, on a machine that may be busy with much else: a start was seen to take 1 to 20 s.
CONVERGED_SECONDS = 1200
RESTARTED_SECONDS = 600


@dataclass(frozen=True)
class Console:
    """What one guest's console log holds, and which file it is."""

    inode: int
    text: str


class Lab:
    """The cluster as fleetctl shows it, and the dom0 as its own tools do; for one fleet."""

    def __init__(self, fleet: str) -> None:
        self.fleet = fleet

    @contextmanager
    def without_fleet(self) -> Iterator["Lab"]:
        """The fleet is not there, before and after."""
        self.delete()
        yield self
        self.delete()

    def names(self, *indices: int) -> set[str]:
        return {f"{self.fleet}-{index}" for index in indices}

    def fleetctl(self, *arguments: str, seconds: float = 120) -> Any:
        """The JSON that a command printed."""
        fleetctl = str(CHECKOUT / ".venv" / "bin" / "fleetctl")
        command = [fleetctl, "--context", "lab", "-o", "json", *arguments]
        return json.loads(_output(command, seconds))

    def fleetctl_any(self, *arguments: str, seconds: float = 120) -> Any:
        """The same, whatever exit status it ended with: that of `doctor` is its verdict."""
        fleetctl = str(CHECKOUT / ".venv" / "bin" / "fleetctl")
        command = [fleetctl, "--context", "lab", "-o", "json", *arguments]
        return json.loads(subprocess.run(command, capture_output=True, timeout=seconds).stdout)

    def fleetctl_fails(self, *arguments: str, seconds: float = 120) -> tuple[int, str]:
        """A command's exit status, and what it said."""
        fleetctl = str(CHECKOUT / ".venv" / "bin" / "fleetctl")
        command = [fleetctl, "--context", "lab", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        return done.returncode, done.stdout + done.stderr

    def scale(self, total: int) -> None:
        wait = ("--timeout", str(CONVERGED_SECONDS))
        self.fleetctl(
            "scale", self.fleet, "--total", str(total), *wait, seconds=CONVERGED_SECONDS + 60
        )

    def delete(self) -> None:
        """Delete the fleet, if there is one, and wait until its host has released all of it."""
        for fleet in self.fleets():
            if not fleet["deleting"]:
                self.fleetctl("delete", self.fleet, "--yes")
        until(lambda: not self.fleets(), CONVERGED_SECONDS)

    def fleets(self) -> list[Any]:
        fleets = self.fleetctl("fleets")["fleets"]
        return [fleet for fleet in fleets if fleet["fleet"] == self.fleet]

    def ssh(self, command: str, seconds: float = 120) -> str:
        program = str(CHECKOUT / "deploy" / "lab" / "lab.py")
        return _output(["python3", program, "ssh", command], seconds)

    def send(self, archive: bytes, folder: str) -> None:
        """Unpack a tar archive in a folder of the dom0, which need not be there."""
        program = str(CHECKOUT / "deploy" / "lab" / "lab.py")
        command = f"mkdir -p {folder} && tar -x -C {folder}"
        subprocess.run(["python3", program, "ssh", command], input=archive, check=True, timeout=120)

    def domains(self) -> dict[str, int]:
        """Domain ids by name, of all of the fleet that run."""
        rows = [line.split() for line in self.ssh("xl list").splitlines()[1:]]
        return {row[0]: int(row[1]) for row in rows if self._is_ours(row[0])}

    def defined(self) -> set[str]:
        names = self.ssh("virsh -q -c xen:///system list --all --name").split()
        return {name for name in names if self._is_ours(name)}

    def _is_ours(self, name: str) -> bool:
        return index_of(name, self.fleet) is not None

    def clones(self) -> dict[str, str]:
        """Origins of the fleet's clones by name."""
        listing = self.ssh(f"zfs list -H -d 1 -t volume -o name,origin {POOL}")
        rows = [line.split("\t") for line in listing.splitlines()]
        named = {name.removeprefix(f"{POOL}/"): origin for name, origin in rows if origin != "-"}
        return {name: origin for name, origin in named.items() if self._is_ours(name)}

    def agent(self) -> str:
        """The process of the agent, once it serves; empty meanwhile."""
        asked = "systemctl is-active fleet-agent; systemctl show -P MainPID fleet-agent"
        state, pid = self.ssh(asked).split()
        return pid if state == "active" else ""

    def type(self, name: str, text: str) -> None:
        """Type on a guest's console, as whoever opens its terminal in the dom0 does."""
        terminal = f'"$(xenstore-read /local/domain/$(xl domid {name})/console/tty)"'
        self.ssh(f"printf %s {shlex.quote(text)} > {terminal}")

    def console(self, name: str) -> Console:
        """Of its present life: the log of the one before is set aside when it is started anew, and
        for a moment there is none."""
        log = f"/var/log/xen/console/guest-{name}.log"
        # One file is opened once: between two looks it may be set aside.
        seen = self.ssh(f"! test -e {log} || {{ stat -L -c %i /dev/fd/0; cat; }} < {log} || true")
        inode, _, text = seen.partition("\n")
        return Console(int(inode or 0), text)


def _output(command: list[str], seconds: float) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    said = f"{command} ended with {done.returncode}: {done.stderr}{done.stdout}"
    assert done.returncode == 0, said
    return done.stdout


def until(holds: Callable[[], object], seconds: float) -> None:
    """Ask again until it holds; what is asked here, nothing announces."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(1)
