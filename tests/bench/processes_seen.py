"""What the kernel tells of a sandbox's QEMUs and its agent."""

from __future__ import annotations

import os
from pathlib import Path

from fleetctl.sandbox.tour import boots
from tests.real.real_sandbox import RealSandbox

_TICKS = os.sysconf("SC_CLK_TCK")


def pids_of(real: RealSandbox, vms: int) -> list[int]:
    pids = [pid for pid in real.qemus(vms).values() if pid is not None]
    if len(pids) != vms or any(not boots(real.real, real.vm(index)) for index in range(vms)):
        raise RuntimeError(f"{len(pids)} of {vms} VMs run")
    return pids


def seconds_of(pid: int) -> float:
    """CPU seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def pss_mib(pid: int) -> float:
    return _kib(pid, "smaps_rollup", "Pss:") / 1024


def resident_mib(pid: int) -> float:
    return _kib(pid, "status", "VmRSS:") / 1024


def _kib(pid: int, file: str, field: str) -> float:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    return 0.0
