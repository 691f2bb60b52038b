"""Counters of Xen's backends in this dom0, from /sys and /proc: libxl's driver of libvirt tells
none of them. Blocking.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# xen-blkback counts sectors of 512 bytes, whatever the device's own are (blkif.h).
SECTOR_BYTES = 512

_VBD = re.compile(r"vbd-([0-9]+)-[0-9]+")
_VIF = re.compile(r"vif([0-9]+)\.[0-9]+")
# Columns of /proc/net/dev after the name: bytes received, and, after 8, bytes sent.
_RECEIVED, _SENT = 0, 8


@dataclass(frozen=True, slots=True)
class XenPaths:
    """Where the kernel shows them."""

    backends: Path = Path("/sys/bus/xen-backend/devices")
    interfaces: Path = Path("/proc/net/dev")


def block_bytes(backends: Path) -> Mapping[int, tuple[int, int]]:
    """Bytes read and written by each domain id, over all of its disks. A domain whose backend is
    in user space has none here."""
    totals: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    try:
        devices = list(backends.iterdir())
    except OSError:  # no backend was ever loaded
        return {}
    for device in devices:
        if found := _VBD.fullmatch(device.name):
            read, written = totals[int(found[1])]
            totals[int(found[1])] = (
                read + _sectors(device / "statistics" / "rd_sect"),
                written + _sectors(device / "statistics" / "wr_sect"),
            )
    return dict(totals)


def network_bytes(interfaces: Path) -> Mapping[int, tuple[int, int]]:
    """Bytes received and sent by each domain id, as the guest sees it: what its vif in the dom0
    sends, the guest receives."""
    totals: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    try:
        lines = interfaces.read_text().splitlines()
    except OSError:
        return {}
    for line in lines:
        name, _, columns = line.partition(":")
        if found := _VIF.fullmatch(name.strip()):
            numbers = columns.split()
            received, sent = totals[int(found[1])]
            totals[int(found[1])] = (
                received + int(numbers[_SENT]),
                sent + int(numbers[_RECEIVED]),
            )
    return dict(totals)


def _sectors(file: Path) -> int:
    """In bytes; 0 when the disk has gone meanwhile."""
    try:
        return int(file.read_text()) * SECTOR_BYTES
    except (OSError, ValueError):
        return 0
