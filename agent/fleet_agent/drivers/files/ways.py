"""The ways to make a clone of an image that is a file, and which one is taken."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class Way(StrEnum):
    """How a clone comes to its content."""

    REFLINK = "reflink"  # shares the image's blocks; xfs, btrfs
    OVERLAY = "qcow2 overlay"  # holds what differs from the image; read by QEMU alone
    COPY = "copy"


# What is tried, in this order: by any hypervisor, and where QEMU alone reads the disks.
FOR_ALL = (Way.REFLINK, Way.COPY)
FOR_QEMU = (Way.REFLINK, Way.OVERLAY)
OVERLAYS = (Way.OVERLAY,)


def taken(ways: Sequence[Way], shares: bool) -> Way:
    """The first of the ways that the file system allows; `shares`: it has reflink."""
    return next(way for way in ways if shares or way is not Way.REFLINK)


def way_in_words(ways: Sequence[Way], shares: bool) -> str:
    """Which way is taken, and why, for people."""
    way = taken(ways, shares)
    tried_in_vain = Way.REFLINK in ways and not shares
    return f"{way} (no reflink)" if tried_in_vain else str(way)
