"""The three ways in which a VM starts, and what each of them needs or forbids beside it.

A kernel is a file of the host. Firmware starts what the VM's own disk holds. A loader is a program
that Xen starts as it would a kernel, and that reads the disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum

from fleet.v1 import types_pb2 as types


class BootWay(StrEnum):
    """By the field that says it."""

    KERNEL = "boot.kernel"
    FIRMWARE = "boot.firmware"
    LOADER = "boot.loader"


_PARTITION = re.compile(r"([a-z]+)[0-9]+")


def ways_given(boot: types.Boot) -> list[BootWay]:
    """All that are given; a good template gives one."""
    given = (
        (BootWay.KERNEL, boot.kernel),
        (BootWay.FIRMWARE, boot.firmware),
        (BootWay.LOADER, boot.loader),
    )
    return [way for way, value in given if value]


def disk_of_partition(target: str) -> str:
    """xvda for xvda2; empty for what is no partition."""
    found = _PARTITION.fullmatch(target)
    return found[1] if found else ""


def boot_problems(spec: types.FleetSpec) -> Iterator[str]:
    """What is wrong with how a template's VMs start, one sentence each."""
    ways = ways_given(spec.boot)
    if len(ways) != 1:
        names = " and ".join(way.rpartition(".")[2] for way in ways)
        got = f"has {names}" if ways else "is empty"
        yield f"boot: must have one of kernel, firmware and loader, and {got}"
    if BootWay.KERNEL in ways or not ways:
        return
    for name in ("initrd", "cmdline"):
        if getattr(spec.boot, name):
            yield f"boot.{name}: belongs to boot.kernel; {ways[0]} starts what the disk holds"
    if not spec.disk.target:
        yield f"disk.target: must be given, since {ways[0]} starts from the disk"
    elif BootWay.FIRMWARE in ways and disk_of_partition(spec.disk.target):
        yield (
            f"disk.target: must be a whole disk such as {disk_of_partition(spec.disk.target)}, "
            f"since firmware starts from no partition; got {spec.disk.target!a}"
        )
