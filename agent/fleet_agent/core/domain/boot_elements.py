"""How a guest starts, as elements of its definition; and what a hypervisor cannot carry of it.

What cannot be carried is refused in a sentence that begins with the field of the fleet file. Xen's
full virtualisation and pvgrub were never booted by those who wrote this: their definitions follow
what libvirt's Xen driver and libxl read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from lxml import etree

from fleet.template.boot_ways import BootWay, disk_of_partition, ways_given
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.flavour import Flavour

# Of Debian's grub-xen-host. It starts the GRUB that a disk has in /boot/xen/pvboot-x86_64.elf, else
# reads the /boot/grub/grub.cfg that it finds.
PVGRUB = "/usr/lib/grub-xen/grub-x86_64-xen.bin"


NO_UEFI = "this host has no UEFI for guests; install Debian's package ovmf"


class BootKind(StrEnum):
    KERNEL = "a kernel"
    BIOS = "a BIOS"
    UEFI = "UEFI"
    PVGRUB = "pvgrub"

    @property
    def is_firmware(self) -> bool:
        return self in (BootKind.BIOS, BootKind.UEFI)


@dataclass(frozen=True, slots=True)
class UefiFiles:
    """UEFI as files of the host. `variables`: what a guest's own variables begin as; empty where
    the hypervisor keeps none."""

    code: str
    variables: str


# The device names that libxl reads (libxl__device_disk_dev_number).
_OF_XEN = re.compile(r"(xvd[a-z]+|hd[a-d]|sd[a-p])\d*")

_FIRMWARE = {types.FIRMWARE_BIOS: BootKind.BIOS, types.FIRMWARE_UEFI: BootKind.UEFI}
_LOADERS = {types.LOADER_PVGRUB: BootKind.PVGRUB}

_Type = tuple[str, Mapping[str, str]]
_PARAVIRTUAL: _Type = ("linux", {"arch": "x86_64", "machine": "xenpv"})
_FULL: _Type = ("hvm", {"arch": "x86_64", "machine": "xenfv"})

# <os><type>, its text and attributes, of each kind of boot that a hypervisor carries. libvirt's
# test driver keeps <kernel> for "xen" and drops it silently for "linux".
_TYPES: Mapping[Flavour, Mapping[BootKind, _Type]] = {
    Flavour.XEN: {
        BootKind.KERNEL: _PARAVIRTUAL,
        BootKind.BIOS: _FULL,
        BootKind.UEFI: _FULL,
        BootKind.PVGRUB: _PARAVIRTUAL,
    },
    Flavour.KVM: dict.fromkeys((BootKind.KERNEL, BootKind.BIOS, BootKind.UEFI), ("hvm", {})),
    Flavour.TCG: dict.fromkeys((BootKind.KERNEL, BootKind.BIOS, BootKind.UEFI), ("hvm", {})),
    Flavour.TEST: {
        BootKind.KERNEL: ("xen", {}),
        BootKind.BIOS: ("hvm", {}),
        BootKind.UEFI: ("hvm", {}),
        BootKind.PVGRUB: ("xen", {}),
    },
}


def boot_kind(boot: types.Boot, flavour: Flavour) -> BootKind:
    """Raises ValueError for what is not one way to start, or not one of this hypervisor's."""
    ways = ways_given(boot)
    if len(ways) != 1:
        given = " and ".join(ways) or "none"
        raise ValueError(f"boot: one of kernel, firmware and loader is needed; {given} is given")
    (way,) = ways
    if way is BootWay.KERNEL:
        return BootKind.KERNEL
    firmware = way is BootWay.FIRMWARE
    kind = _FIRMWARE.get(boot.firmware) if firmware else _LOADERS.get(boot.loader)
    if kind is None:
        number = boot.firmware if firmware else boot.loader
        raise ValueError(f"{way}: this agent does not know number {number}; upgrade it")
    if kind not in _TYPES[flavour]:
        raise ValueError(f"{way}: {kind} is Xen's; QEMU boots by boot.kernel or boot.firmware")
    return kind


def os_element(
    boot: types.Boot, kind: BootKind, flavour: Flavour, cmdline: str, uefi: UefiFiles | None
) -> etree._Element:
    """<os>. Raises ValueError where the host lacks what the kind of boot needs."""
    made = etree.Element("os")
    text, attributes = _TYPES[flavour][kind]
    etree.SubElement(made, "type", dict(attributes)).text = text
    if kind is BootKind.BIOS and flavour.is_qemu:
        # So that a disk which does not boot says so where it is looked for: on the console.
        etree.SubElement(made, "bios", {"useserial": "yes"})
    if kind is BootKind.UEFI:
        _add_uefi(made, flavour, uefi)
    if kind.is_firmware and flavour is Flavour.XEN:
        etree.SubElement(made, "boot", {"dev": "hd"})  # libxl reads no order of single disks
    parts = {"kernel": boot.kernel, "initrd": boot.initrd, "cmdline": cmdline}
    if kind is BootKind.PVGRUB:
        parts = {"kernel": PVGRUB}
    if kind in (BootKind.KERNEL, BootKind.PVGRUB):
        for name, value in parts.items():
            if value:
                etree.SubElement(made, name).text = value
    return made


def _add_uefi(made: etree._Element, flavour: Flavour, uefi: UefiFiles | None) -> None:
    if uefi is None:
        raise ValueError(f"boot.firmware: {NO_UEFI}")
    etree.SubElement(made, "loader", {"readonly": "yes", "type": "pflash"}).text = uefi.code
    if flavour is not Flavour.XEN:  # libvirt makes the file of variables, and names it
        etree.SubElement(made, "nvram", {"template": uefi.variables})


def orders_disks(kind: BootKind, flavour: Flavour) -> bool:
    """Whether the disk that the firmware starts from is marked as the first."""
    return kind.is_firmware and flavour is not Flavour.XEN


def check_targets(spec: types.FleetSpec, kind: BootKind, flavour: Flavour) -> None:
    """Raises ValueError for a device name that the hypervisor cannot give."""
    targets = list(_targets(spec))
    if flavour.is_qemu:
        for field, target in targets:
            if disk_of_partition(target):
                raise ValueError(
                    f"{field}: {target} is a partition, and only Xen has a partition for a disk"
                )
    if flavour is Flavour.XEN:
        for field, target in targets:
            if not _OF_XEN.fullmatch(target):
                raise ValueError(
                    f"{field}: Xen has xvda, hda to hdd and sda to sdp; not {target!a}"
                )
    if flavour is Flavour.XEN and kind.is_firmware:
        _check_full(spec.disk.target, targets)


def _check_full(first: str, targets: list[tuple[str, str]]) -> None:
    if first not in ("xvda", "hda"):
        raise ValueError(
            f"disk.target: Xen's firmware starts from the first disk, xvda or hda; got {first!a}"
        )
    taken: dict[str, str] = {}
    for field, target in targets:
        drive = target.removeprefix("xv").removeprefix("h")
        if drive in taken:
            raise ValueError(
                f"{field}: {target} is the same drive as {taken[drive]} to Xen's firmware"
            )
        taken[drive] = target


def _targets(spec: types.FleetSpec) -> Iterator[tuple[str, str]]:
    if spec.disk.target:
        yield "disk.target", spec.disk.target
    for number, disk in enumerate(spec.more_disks):
        yield f"disks[{number}].target", disk.target
