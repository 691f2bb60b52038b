"""What the limits are judged from: a dom0 as it was read a moment ago."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fleet.template.bridges import joined_bridge, networks_of
from fleet.v1 import types_pb2 as types
from fleet_agent.core.assignment import Assignment
from fleet_agent.core.domain.disks import CloneWay

Version = tuple[int, int]

MIB = 1024 * 1024

# What one VM takes while nothing is assigned that tells: the small guest of the samples, with
# a disk and an interface. An assignment replaces it, so that a host of large guests is judged
# by them.
ASSUMED_MEMORY = 16 * MIB


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one VM takes of its host: memory is the mean of those assigned, the rest the most
    that any of them has. `bridges` is how many share the interfaces."""

    memory_bytes: int = ASSUMED_MEMORY
    vcpus: int = 1
    disks: int = 1
    vifs: int = 1
    bridges: int = 1
    assumed: bool = True
    clones: bool = False  # all of them are copies of a template


ASSUMED = Footprint()


@dataclass(frozen=True, slots=True)
class Process:
    """A daemon of the dom0: how many files it may open, and the systemd unit it lives in (empty
    when none is told)."""

    name: str
    pid: int
    files: int
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Xen:
    """The hypervisor. `options` is its command line, None when that could not be read; memory
    is None likewise."""

    version: Version
    options: Mapping[str, str] | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Qemu:
    """What guests of QEMU find beside what every host has. `emulated`: without KVM; `ksm`: as its
    `run` says, None where the kernel has none; clients: that libvirt's daemons take at once."""

    emulated: bool = False
    clone_bytes: int = 0  # what a copy of a template takes, as measured here; 0: none was
    hugepages_bytes: int = 0  # reserved
    ksm: int | None = 0
    vhost_net: bool = True
    tun: bool = True
    libvirt_clients: int = 5000
    virtlogd_clients: int = 1024


@dataclass(frozen=True, slots=True)
class Dom0Facts:
    """One reading. What could not be read is absent or None; `unread` says why, by name.

    `xen` is None on a host that is no dom0, `qemu` where guests are not QEMU's. `sysctls` are named
    as sysctl(8) has them, `parameters` as MODULE/PARAMETER; a module that is not loaded has none.
    """

    kernel: Version = (0, 0)
    xen: Xen | None = None
    qemu: Qemu | None = None
    qemu_disks: bool = False  # disks that QEMU serves: files, or any disk outside Xen
    zvols: bool = False  # clones are ZFS volumes
    cpus: int | None = None  # of the dom0
    tells_pressure: bool = True  # its kernel says how much its CPUs are wanted (PSI)
    dom0_memory_bytes: int | None = None
    two_level_events: bool | None = None  # as the kernel's log or command line tells
    nr_irqs: int | None = None
    sysctls: Mapping[str, int] = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)
    processes: Mapping[str, Process] = field(default_factory=dict)
    xenstored: str = ""  # its program: oxenstored, xenstored; empty: none is running
    xenstored_nodes: int | None = None  # quota a domU
    autoballoon: str = ""  # as xl.conf says; empty: it says nothing
    libvirt_workers: int | None = None
    libvirt_requests: int | None = None
    libvirt: str = "libvirtd"  # the daemon whose file this is
    libvirt_conf: str = "/etc/libvirt/libvirtd.conf"
    fast_block_script: bool | None = None
    fast_block_program: bool = False  # whether there is one to be put in place
    skips_blkid: bool | None = None
    pool_bytes: int | None = None
    pool_free_bytes: int | None = None
    clone_way: CloneWay | None = None
    own_files: Mapping[str, str] = field(default_factory=dict)  # those that tuning wrote
    footprint: Footprint = ASSUMED
    unread: Mapping[str, str] = field(default_factory=dict)


def footprint_of(assignment: Assignment) -> Footprint:
    """Of the VMs assigned; the assumed one while there are none."""
    counted = [
        (spec, len(shard.indices))
        for shard in assignment.shards
        if (spec := assignment.specs.get((shard.kin.fleet_uid, shard.kin.generation))) is not None
    ]
    vms = sum(count for _, count in counted)
    if not vms:
        return ASSUMED
    specs = [spec for spec, count in counted if count]
    bridges = {one for spec in specs for one in _bridges(spec)}
    return Footprint(
        memory_bytes=-(-sum(spec.memory_bytes * count for spec, count in counted) // vms),
        vcpus=max(1, *(spec.vcpus for spec in specs)),
        disks=max(
            bool(spec.image.name) + len(spec.more_disks) + spec.HasField("identity")
            for spec in specs
        ),
        vifs=max(sum(1 for _ in _bridges(spec)) for spec in specs),
        bridges=max(1, len(bridges)),
        assumed=False,
        clones=all(spec.start == types.START_CLONE for spec in specs),
    )


def _bridges(spec: types.FleetSpec) -> Iterable[str]:
    """The bridge that each interface joins."""
    return (joined_bridge(one) for one in networks_of(spec) if one.bridge)


def options_of(command_line: str) -> dict[str, str]:
    """Xen's command line, or the kernel's, by option; the last of each counts, as it does there.
    An option without a value is "yes"."""
    words = (word.partition("=") for word in command_line.split())
    return {name: value if equals else "yes" for name, equals, value in words}


# Xen, docs/misc/xen-command-line: <size> is a number with B, K, M, G or T; KiB without.
_SIZE = re.compile(r"^(0x[0-9a-f]+|\d+)([bkmgt]?)$", re.IGNORECASE)
_UNITS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "": 2**10}


def size_of(text: str) -> int | None:
    """Bytes of a <size> on Xen's command line; None when it is none."""
    found = _SIZE.match(text)
    return int(found[1], 0) * _UNITS[found[2].lower()] if found else None


def dom0_memory_option(options: Mapping[str, str]) -> tuple[int | None, int | None]:
    """(bytes, most bytes) that `dom0_mem` gives: "4G,max:4G"; None for what it does not say."""
    least = most = None
    for part in options.get("dom0_mem", "").split(","):
        kind, _, size = part.rpartition(":")
        if kind == "max":
            most = size_of(size)
        elif not kind:
            least = size_of(size)
    return least, most
