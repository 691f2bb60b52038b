"""VMs of a sandbox that are copies of a template: processes of QEMU in its agent's folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fleet.template.clones import templates_folder
from fleetctl.output import counted
from fleetctl.sandbox.phases import Phases
from fleetctl.sandbox.real.qemu_processes import kill


def remove(folder: Path, ledger: Path, phases: Phases) -> int:
    """Ends those that run below the agent's folder, and removes what they were copied from; returns
    how many. None comes back: the agent does not run any more."""
    pids = running(folder) + running(Path(templates_folder(ledger)))
    if pids:
        with phases.phase("clones are ended") as phase:
            for pid in pids:
                kill(pid)
            phase.outcome = f"{counted(len(pids), 'clone')} ended"
    shutil.rmtree(templates_folder(ledger), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    return len(pids)


def running(folder: Path) -> list[int]:
    """Processes of QEMU in folders below this one."""
    below, found = os.path.realpath(folder) + os.sep, []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                where = os.readlink(f"/proc/{entry}/cwd")
                name = Path("/proc", entry, "comm").read_text()
            except OSError:
                continue  # it has ended, or is none of this user's
            if where.startswith(below) and name.startswith("qemu"):
                found.append(int(entry))
    return found
