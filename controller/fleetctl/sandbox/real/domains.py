"""The domains of one sandbox: known by where their consoles are logged, removed by virsh.

Only the agent of this sandbox has guests' consoles logged in its folder, so that a domain which
names this folder there is its own, and no other is ever touched. No controller and no agent is
needed for it, which may be long dead.
"""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as elements
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fleetctl.output import counted
from fleetctl.sandbox.errors import SandboxError
from fleetctl.sandbox.phases import Phases
from fleetctl.sandbox.real.packages import required_program

_SECONDS = 120.0
AT_ONCE = 8
# So often are domains looked for that came while others were removed.
LOOKS = 5


@dataclass(frozen=True, slots=True)
class Virsh:
    """One libvirt, asked through its command."""

    uri: str

    def said(self, *arguments: str) -> str:
        """Raises SandboxError."""
        command = [required_program("virsh"), "-q", "-c", self.uri, *arguments]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise SandboxError(f"virsh cannot be run on {self.uri}: {error}") from error
        if done.returncode:
            why = done.stderr.strip().removeprefix("error: ").replace("\n", " ")
            raise SandboxError(f"virsh {arguments[0]} failed on {self.uri}: {why}")
        return done.stdout

    def names(self) -> list[str]:
        """Of all domains, whoever made them."""
        return [name for name in self.said("list", "--all", "--name").splitlines() if name]

    def running(self) -> list[str]:
        return [name for name in self.said("list", "--name").splitlines() if name]

    def definition(self, name: str) -> elements.Element | None:
        """None where it is gone by now, or is no XML. Raises SandboxError for one that is there and
        cannot be read: whose it is, is not known then."""
        try:
            return elements.fromstring(self.said("dumpxml", name))
        except elements.ParseError:
            return None
        except SandboxError:
            if name in self.names():
                raise
            return None


def is_logged_in(domain: elements.Element, consoles: Path) -> bool:
    """Whether the domain's console is logged in this folder."""
    logs = [log.get("file", "") for log in domain.iterfind("devices/*/log")]
    return any(Path(log).parent == consoles for log in logs)


def own_domains(virsh: Virsh, consoles: Path) -> list[str]:
    """Raises SandboxError."""
    found = ((name, virsh.definition(name)) for name in virsh.names())
    return [name for name, one in found if one is not None and is_logged_in(one, consoles)]


def remove(virsh: Virsh, consoles: Path, phases: Phases) -> int:
    """Stops and forgets the domains of a sandbox; returns how many. Its agent does not run any
    more, but libvirt may still do what that had asked: it is looked again until none is there.
    Raises SandboxError, with the first that stays."""
    with phases.phase("domains are removed") as phase:
        removed: set[str] = set()
        for _ in range(LOOKS):
            names = own_domains(virsh, consoles)
            if not names:
                break
            running = set(virsh.running())
            # libvirt waits a second or more for the end of each QEMU.
            with ThreadPoolExecutor(AT_ONCE) as pool:
                ends = pool.map(partial(_end, virsh, running), names)
                for number, _ in enumerate(ends, start=1):
                    phase.show(f"{number} of {counted(len(names), 'domain')} removed")
            removed.update(names)
        else:
            raise SandboxError(
                f"domain {names[0]} is there again each time that it is removed: see who makes it "
                f"('virsh -c {virsh.uri} list --all'), then try again"
            )
        phase.outcome = f"{counted(len(removed), 'domain')} removed"
    return len(removed)


def _end(virsh: Virsh, running: set[str], name: str) -> None:
    """Raises SandboxError, unless it has gone, or has ended, by itself."""
    if name in running:
        _unless(lambda: name not in virsh.running(), virsh, "destroy", name)
    options = ("--managed-save", "--snapshots-metadata", "--nvram")
    _unless(lambda: name not in virsh.names(), virsh, "undefine", name, *options)


def _unless(is_done: Callable[[], bool], virsh: Virsh, *arguments: str) -> None:
    """What fails for having been done already has not failed."""
    try:
        virsh.said(*arguments)
    except SandboxError:
        if not is_done():
            raise


def free_fleet_name(virsh: Virsh, wanted: str, suffix: str) -> str:
    """`wanted`, unless libvirt has domains of such a fleet already: then with the suffix, so that
    two sandboxes on one libvirt keep apart. Raises SandboxError."""
    taken = any(name.rpartition("-")[0] == wanted for name in virsh.names())
    return f"{wanted}-{suffix}" if taken else wanted
