"""What the disks and interfaces of a template may not be beside one another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fleet.template.boot_ways import disk_of_partition
from fleet.template.bridges import MAX_LENGTH, joined_bridge, networks_of
from fleet.template.placeholders import NAME_PLACEHOLDERS, asks_for
from fleet.v1 import types_pb2 as types

_CDROM_TARGET = re.compile(r"hd[a-d]")
# Of a text from outside that is shown.
_SHOWN = 60


def mac_problems(networks: Sequence[types.Network]) -> Iterator[str]:
    taken: set[str] = set()
    for number, network in enumerate(networks):
        base = network.mac_base.lower()
        if base in taken:
            field = f"networks[{number - 1}].mac_base"
            yield f"{field}: {base[:_SHOWN]!a} is another interface's already"
        taken |= {base} if base else set()


def bridge_problems(spec: types.FleetSpec) -> Iterator[str]:
    for network in networks_of(spec):
        name = joined_bridge(network)
        if len(name) > MAX_LENGTH:
            most = MAX_LENGTH - (len(name) - len(network.bridge))
            yield (
                f"network.bridge: with VLAN {network.vlan} has at most {most} characters, since "
                f"VMs join {name[:_SHOWN]!a}; got {network.bridge[:_SHOWN]!a}"
            )


def disk_problems(
    first: str, disks: Sequence[types.ExtraDisk], seeds: Sequence[str] = ()
) -> Iterator[str]:
    """`first`: the target of the clone. `seeds`: where VMs find who they are."""
    if whole := _shares(first, seeds) or (first if first in seeds else ""):
        yield f"disk.target: {whole} is where each VM finds its identity"
    targets = [first, *seeds]
    for number, disk in enumerate(disks):
        if disk.target in targets:
            yield f"disks[{number}].target: {disk.target[:_SHOWN]!a} is another disk's already"
        elif disk.target and (whole := _shares(disk.target, targets)):
            yield f"disks[{number}].target: {disk.target[:_SHOWN]!a} is on the same disk as {whole}"
        if disk.cdrom and not _CDROM_TARGET.fullmatch(disk.target):
            yield (
                f"disks[{number}].target: must be hda, hdb, hdc or hdd for a cdrom; "
                f"got {disk.target[:_SHOWN]!a}"
            )
        if disk.cdrom and not disk.read_only:
            yield f"disks[{number}].read_only: must be true for a cdrom"
            continue
        if not (disk.read_only or asks_for(disk.path, *NAME_PLACEHOLDERS)):
            yield (
                f"disks[{number}].read_only: must be true for a path without {{name}} or "
                "{index}: all VMs share it"
            )
        targets.append(disk.target)


def _shares(target: str, others: Sequence[str]) -> str:
    """Which of them is the whole of this partition, or a partition of this whole disk."""
    whole = disk_of_partition(target)
    return next(
        (one for one in others if one and (one == whole or disk_of_partition(one) == target)), ""
    )
