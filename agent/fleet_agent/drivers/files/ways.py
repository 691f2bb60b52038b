"""Which way is taken to make a clone of an image that is a file."""

from __future__ import annotations

from collections.abc import Sequence

from fleet_agent.core.domain.disks import CloneWay

# What is tried, in this order: by any hypervisor, and where QEMU alone reads the disks.
FOR_ALL = (CloneWay.REFLINK, CloneWay.COPY)
FOR_QEMU = (CloneWay.REFLINK, CloneWay.OVERLAY)
OVERLAYS = (CloneWay.OVERLAY,)


def taken(ways: Sequence[CloneWay], shares: bool) -> CloneWay:
    """The first of the ways that the file system allows; `shares`: it has reflink."""
    return next(way for way in ways if shares or way is not CloneWay.REFLINK)


def way_in_words(ways: Sequence[CloneWay], way: CloneWay) -> str:
    """Which way is taken, and why, for people."""
    tried_in_vain = CloneWay.REFLINK in ways and way is not CloneWay.REFLINK
    return f"{way} (no reflink)" if tried_in_vain else str(way)
