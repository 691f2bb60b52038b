"""The arguments of QEMU for one VM, for the template of many, and for a clone of it.

One list for all three: what a template and its clones must have alike stands in `_hardware`, and
only what is behind a device differs. A change of it that a clone could not be restored with needs
another VERSION.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.domain.flavour import Flavour

VERSION = 1
# Where a guest finds the port on which it is told who it is: the first of the first controller.
IDENTITY_PORT = "org.megafleet.identity.0"
# In the command line of a guest that is told so.
IDENTITY_WORD = "megafleet.identity=port"
# Of the cache that QEMU keeps of translated code: as a domain of libvirt has it.
TRANSLATION_CACHE_MIB = 20

RAM_FILE, STATE_FILE = "ram", "state"


class Way(StrEnum):
    """How a process of QEMU comes to run a guest."""

    BOOT = "boot"
    TEMPLATE = "template"
    CLONE = "clone"


@dataclass(frozen=True, slots=True)
class Nic:
    mac: str
    bridge: str
    tap: str
    mtu: int = 0


@dataclass(frozen=True, slots=True)
class Guest:
    """What one VM's process has of the VM."""

    name: str
    uuid: str
    memory_bytes: int
    vcpus: int
    kernel: str
    initrd: str
    cmdline: str
    disk: Disk | None = None
    read_only: bool = False
    nics: Sequence[Nic] = ()


@dataclass(frozen=True, slots=True)
class Emulator:
    """QEMU as this host has it. `version` tells another build; `cpu` another processor."""

    program: str
    version: str
    cpu: str
    flavour: Flavour = Flavour.TCG
    run_as: str = ""  # the user that a process becomes; empty: it stays whose it was


@dataclass(frozen=True, slots=True)
class Sockets:
    """Descriptors that a process is given, each of a socket that listens."""

    monitor: int
    people: int
    console: int
    identity: int


@dataclass(frozen=True, slots=True)
class Memory:
    """The file that the guest's memory lies in; none for a VM that is neither a template nor a
    clone."""

    file: str = ""


def arguments(
    emulator: Emulator, guest: Guest, way: Way, sockets: Sockets, memory: Memory
) -> list[str]:
    """The command. Its folder is the process's own: the console's log is a file in it."""
    command = [
        *(emulator.program, "-name", f"guest={guest.name},debug-threads=off", "-uuid", guest.uuid),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-sandbox", "on,obsolete=deny,spawn=deny"),
        *_hardware(emulator, guest, way, memory),
        *_sockets(sockets),
        *_disk(guest, way),
        *_nics(guest, way),
    ]
    if emulator.run_as:
        command += ["-runas", emulator.run_as]
    if way is Way.CLONE:
        # A guest that was copied never reads its kernel again.
        return [*command, "-incoming", "defer"]
    command += ["-kernel", guest.kernel]
    if guest.initrd:
        command += ["-initrd", guest.initrd]
    return [*command, "-append", guest.cmdline]


def template_key(
    emulator: Emulator, fleet_uid: str, guest: Guest, files: Sequence[str], disk_bytes: int
) -> str:
    """What two VMs must have alike to be copies of one template. `files`: what tells another kernel
    and initrd. The fleet is part of it: templates are shared by nobody else."""
    parts = {
        "version": VERSION,
        "emulator": [emulator.program, emulator.version, emulator.flavour.value],
        "cpu": emulator.cpu,
        "fleet": fleet_uid,
        "memory": guest.memory_bytes,
        "vcpus": guest.vcpus,
        "kernel": guest.kernel,
        "initrd": guest.initrd,
        "cmdline": guest.cmdline,
        "files": list(files),
        "disk": [disk_bytes, guest.read_only],
        "nics": [nic.mtu for nic in guest.nics],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _hardware(emulator: Emulator, guest: Guest, way: Way, memory: Memory) -> Iterator[str]:
    size = f"{guest.memory_bytes >> 20}M"
    kvm = emulator.flavour is Flavour.KVM
    yield from ("-accel", "kvm" if kvm else f"tcg,tb-size={TRANSLATION_CACHE_MIB}")
    yield from ("-machine", "pc,usb=off,memory-backend=ram")
    yield from ("-cpu", "host" if kvm else "qemu64")
    yield from ("-smp", str(guest.vcpus), "-m", size, "-rtc", "base=utc")
    if memory.file:
        # A template takes all of its memory's room at once: where there is none any more, QEMU says
        # so, rather than end by a signal later.
        share = "on,prealloc=on" if way is Way.TEMPLATE else "off"
        yield from (
            "-object",
            f"memory-backend-file,id=ram,size={size},mem-path={memory.file},share={share}",
        )
    else:
        yield from ("-object", f"memory-backend-ram,id=ram,size={size}")
    yield from ("-device", "vmgenid,guid=auto")
    yield from ("-device", "virtio-serial-pci,id=ports,max_ports=2")


def _sockets(sockets: Sockets) -> Iterator[str]:
    listening = "server=on,wait=off"
    for name, descriptor in (("monitor", sockets.monitor), ("people", sockets.people)):
        yield from ("-chardev", f"socket,id={name},fd={descriptor},{listening}")
        yield from ("-mon", f"chardev={name},mode=control")
    yield from (
        "-chardev",
        f"socket,id=console,fd={sockets.console},{listening},logfile=console.log,logappend=on",
    )
    yield from ("-device", "isa-serial,chardev=console")
    yield from ("-chardev", f"socket,id=identity,fd={sockets.identity},{listening}")
    yield from (
        "-device",
        f"virtserialport,bus=ports.0,nr=1,chardev=identity,name={IDENTITY_PORT}",
    )


def _disk(guest: Guest, way: Way) -> Iterator[str]:
    """A template sees the disk of the first VM and writes to nothing: what it writes goes into a
    file that ends with it."""
    disk = guest.disk
    if disk is None:
        return
    parts = [
        *("if=none,id=disk", f"file={escaped(disk.path)}", f"format={disk.format.value}"),
        *("cache=writeback", "discard=unmap", "werror=stop", "rerror=stop"),
        f"readonly={'on' if guest.read_only else 'off'}",
    ]
    if way is Way.TEMPLATE:
        parts.append("snapshot=on")
    yield from ("-drive", ",".join(parts), "-device", "virtio-blk-pci,drive=disk")


def _nics(guest: Guest, way: Way) -> Iterator[str]:
    for number, nic in enumerate(guest.nics):
        # Nobody is to hear of a template.
        back = f"hubport,id=net{number},hubid={number}"
        if way is not Way.TEMPLATE:
            back = f"tap,id=net{number},ifname={nic.tap},script=no,downscript=no"
        mtu = f",host_mtu={nic.mtu}" if nic.mtu else ""
        device = f"virtio-net-pci,netdev=net{number},mac={nic.mac},romfile={mtu}"
        yield from ("-netdev", back, "-device", device)


def escaped(text: str) -> str:
    """A value within an option of QEMU: a comma stands twice."""
    return text.replace(",", ",,")
