"""Memory of this host, and what clones take of it. Blocking, read only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

KIB, MIB = 1024, 1 << 20
# What a clone is taken for until some were measured.
FIRST_CLONE_BYTES = 48 * MIB
# What a process of QEMU takes beside its guest's memory, translated code included.
QEMU_BYTES = 60 * MIB
# A new VM leaves so much: else the machine swaps, or the kernel ends what it likes.
RESERVE_SHARE, LEAST_RESERVE = 16, 384 * MIB
# Measured sizes are told in steps of this.
STEP_BYTES = 4 * MIB
# To sum up a process's pages takes the kernel a millisecond.
_SAMPLED = 8
_FIELD = re.compile(r"^(\w+):\s+(\d+) kB", re.MULTILINE)


def shortage(needed: int, meminfo: Path = Path("/proc/meminfo")) -> str:
    """Why a VM that takes so many bytes is not to be started now; empty where it may be."""
    fields = _fields(meminfo)
    available, total = fields.get("MemAvailable", 0), fields.get("MemTotal", 0)
    kept = reserve(total)
    if available - needed >= kept:
        return ""
    return (
        f"{available // MIB:,} MiB of memory are left, of which {kept // MIB:,} MiB stay free: "
        f"none for a VM of {needed // MIB} MiB"
    )


def reserve(total: int) -> int:
    """Of a host's memory: what no VM is started into."""
    return max(LEAST_RESERVE, total // RESERVE_SHARE)


def clone_bytes(pids: Iterable[int], proc: Path = Path("/proc")) -> int:
    """What a clone takes on the average, beside its template's memory, which is counted once: a few
    clones would bear all of it, and seem to be large. Pages of programs count as shared (PSS). 0
    where none could be measured."""
    found = []
    for pid in list(pids)[:_SAMPLED]:
        try:
            fields = _fields(proc / str(pid) / "smaps_rollup")
        except OSError:
            continue  # it has ended, or is not ours to look into
        if "Pss" in fields:
            found.append(fields["Pss"] - fields.get("Pss_Shmem", 0))
    return sum(found) // len(found) if found else 0


def total_bytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Raises OSError."""
    return _fields(meminfo).get("MemTotal", 0)


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Raises OSError."""
    return _fields(meminfo).get("MemAvailable", 0)


def _fields(meminfo: Path) -> dict[str, int]:
    return {name: int(kib) * KIB for name, kib in _FIELD.findall(meminfo.read_text())}
