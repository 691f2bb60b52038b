"""How much memory the programs of a host hold that are no guests. Blocking, read only."""

from __future__ import annotations

import re
from pathlib import Path

KIB = 1024
# It is told in steps of this share of the host's memory, rounded up: what programs hold changes
# all the time, and each change that is told is written to the store.
STEPS = 16
_FIELD = re.compile(r"^(\w+):\s+(\d+) kB", re.MULTILINE)
# The beginnings of the names of QEMU's processes, cut to 15 characters by the kernel.
_GUESTS = ("qemu-system-", "qemu-kvm")


def held_by_programs(proc: Path = Path("/proc")) -> int:
    """Bytes; 0 where nothing can be read. What the kernel would give back, as its cache, does not
    count, and neither do processes that are guests of QEMU."""
    try:
        fields = _fields(proc / "meminfo")
        total, available = fields["MemTotal"], fields["MemAvailable"]
    except (OSError, KeyError):
        return 0
    guests = sum(map(_resident_if_guest, proc.glob("[0-9]*")))
    step = max(1, total // STEPS)
    return -(-max(0, total - available - guests) // step) * step


def _resident_if_guest(process: Path) -> int:
    try:
        if not (process / "comm").read_text().startswith(_GUESTS):
            return 0
        return _fields(process / "status").get("VmRSS", 0)
    except OSError:  # it has ended
        return 0


def _fields(path: Path) -> dict[str, int]:
    """In bytes."""
    return {name: int(kib) * KIB for name, kib in _FIELD.findall(path.read_text())}
