"""How many small Linux guests this machine holds. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fleetctl.output import byte_text, counted
from fleetctl.sandbox.errors import SandboxError

Accel = Literal["kvm", "tcg"]
# How VMs come to run: booted by one or the other, or copies of one that has booted.
Way = Literal["kvm", "tcg", "clone"]
WORDS: dict[Way, str] = {"kvm": "under KVM", "tcg": "emulated", "clone": "cloned"}

MIB = 1 << 20
GUEST_MEMORY = 80 * MIB
# Bytes a VM takes in all, with QEMU's own share: measured as PSS (make real-bench) and rounded up.
VM_BYTES: dict[Way, int] = {"tcg": 160 * MIB, "kvm": 120 * MIB, "clone": 36 * MIB}
# VMs a core boots within about half a minute, and then bears while they idle.
VMS_A_CORE: dict[Way, int] = {"tcg": 10, "kvm": 40, "clone": 125}
# For etcd, the controller, the agent and libvirt.
BASE_BYTES = 400 * MIB
# What is left of the available memory for everything else.
MEMORY_SHARE = 0.8
MOST: dict[Way, int] = {"tcg": 250, "kvm": 250, "clone": 1000}
# And no more than these unless more are asked for.
DEFAULT_MOST = 250


@dataclass(frozen=True, slots=True)
class Room:
    """What the machine has left: bytes of memory and on the disk that takes the clones."""

    cores: int
    memory_bytes: int
    disk_bytes: int


def most(room: Room, way: Way, clone_bytes: int) -> int:
    """VMs that memory and disk admit."""
    memory = int((room.memory_bytes * MEMORY_SHARE - BASE_BYTES) // VM_BYTES[way])
    disk = int(room.disk_bytes * MEMORY_SHARE // clone_bytes)
    return max(0, min(memory, disk, MOST[way]))


def default_number(room: Room, way: Way, clone_bytes: int) -> tuple[int, str]:
    """How many are booted unless a number is asked for, and why so many. Raises SandboxError
    where not one fits."""
    admitted = checked_number(1, room, way, clone_bytes)
    by_cores = min(VMS_A_CORE[way] * room.cores, DEFAULT_MOST)
    cores = f"{VMS_A_CORE[way]} {WORDS[way]} on each of {counted(room.cores, 'core')}"
    if by_cores < admitted:
        return by_cores, f"{counted(by_cores, 'VM')}: {cores} (memory and disk admit {admitted})"
    return admitted, (
        f"{counted(admitted, 'VM')}: {byte_text(room.memory_bytes)} of memory and "
        f"{byte_text(room.disk_bytes)} of disk admit no more (the cores would: {cores})"
    )


def checked_number(wanted: int, room: Room, way: Way, clone_bytes: int) -> int:
    """How many are admitted, if that is at least `wanted`. Raises SandboxError."""
    admitted = most(room, way, clone_bytes)
    if wanted > admitted:
        raise SandboxError(
            f"{counted(wanted, 'VM')} of {byte_text(VM_BYTES[way])} do not fit here: "
            f"{byte_text(room.memory_bytes)} of memory and {byte_text(room.disk_bytes)} of disk "
            f"are free, which admits {admitted}"
        )
    return admitted
