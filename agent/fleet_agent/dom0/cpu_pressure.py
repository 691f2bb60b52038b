"""How much this host's CPUs are wanted, as its kernel tells. Under Xen: those of the dom0."""

from __future__ import annotations

import re
from pathlib import Path

from fleet_agent.core.start_pace import Pressure

FILE = Path("/proc/pressure/cpu")
# Documentation/accounting/psi: "some avg10=0.00 avg60=0.00 avg300=0.00 total=0".
_SOME = re.compile(r"^some avg10=(\d{1,3}\.\d+) .*\btotal=(\d{1,20})$", re.MULTILINE)


def read_pressure(file: Path = FILE) -> Pressure | None:
    """None where the kernel tells nothing (built without PSI, or begun with psi=0). Blocking, but
    short: some microseconds."""
    try:
        text = file.read_text("ascii", "replace")
    except OSError:
        return None
    return pressure_of(text)


def pressure_of(text: str) -> Pressure | None:
    """None where it is no such file's."""
    found = _SOME.search(text)
    return Pressure(int(found[2]), float(found[1]) / 100) if found else None
