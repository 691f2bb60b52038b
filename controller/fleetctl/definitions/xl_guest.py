"""A guest of Xen as its xl.cfg says it: xl.cfg(5), xl-disk-configuration(5)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fleet.template.field import MIB, shown
from fleetctl.definitions.guest import (
    BadDefinition,
    Guest,
    GuestDisk,
    GuestInterface,
    number_in,
)
from fleetctl.definitions.xl_syntax import XlValue, parse_xl

# What xl does with a guest that ends, where a fleet does the same.
_ALIKE = {"on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy"}
_READ = frozenset(
    "name memory vcpus kernel ramdisk cmdline root extra disk vif type builder bios bootloader uuid"
    .split()
)  # fmt: skip
_OF_A_KERNEL = ("ramdisk", "cmdline", "root", "extra")
_FORMATS = ("raw", "qcow", "qcow2", "qed", "vhd")
_WAYS_IN = re.compile(r"^(?:(?:phy|file|tap2?|aio|raw|qcow2?|vhd|vdi|qed):)+")
_ACCESS = {"r": True, "ro": True, "w": False, "rw": False, "w!": False, "rw!": False}
_DEFAULT_BRIDGE = "xenbr0"


def xl_guest(text: str) -> Guest:
    """Raises BadDefinition."""
    settings = parse_xl(text)
    guest = Guest(name=_text(settings, "name"))
    guest.memory_bytes = number_in(_text(settings, "memory") or "0", "memory") * MIB
    guest.vcpus = number_in(_text(settings, "vcpus") or "1", "vcpus")
    _read_boot(settings, guest)
    for disk in _list(settings, "disk"):
        _read_disk(disk, guest)
    for number, vif in enumerate(_list(settings, "vif")):
        _read_interface(vif, f"vif {number}", guest)
    if "uuid" in settings:
        guest.note("uuid", "follows from the fleet and the VM's index")
    for key, value in settings.items():
        if key not in _READ and _ALIKE.get(key) != value:
            guest.note(shown(key)[1:-1], f"{_short(value)} has no counterpart in a fleet file")
    return guest


def _read_boot(settings: Mapping[str, XlValue], guest: Guest) -> None:
    kind = _text(settings, "type") or _text(settings, "builder") or "pv"
    loader, kernel = _text(settings, "bootloader"), _text(settings, "kernel")
    if kind == "hvm":
        guest.firmware = "uefi" if _text(settings, "bios") == "ovmf" else "bios"
        _leave_to(settings, guest, "the firmware", ("kernel", *_OF_A_KERNEL))
        return
    if kind == "pvh":
        guest.note("type", "pvh is not known to fleets; on Xen a kernel is started as pv")
    if loader or "grub" in kernel.rpartition("/")[2]:
        guest.loader = "pvgrub"
        guest.note(
            "bootloader" if loader else "kernel",
            f"{shown(loader or kernel)} is now boot.loader: pvgrub, of Debian's grub-xen-host",
        )
        _leave_to(settings, guest, "the disk's grub.cfg", _OF_A_KERNEL)
        return
    guest.kernel, guest.initrd = kernel, _text(settings, "ramdisk")
    root, extra = _text(settings, "root"), _text(settings, "extra")
    parts = (f"root={root}" if root else "", extra)
    guest.cmdline = _text(settings, "cmdline") or " ".join(filter(None, parts))


def _leave_to(
    settings: Mapping[str, XlValue], guest: Guest, whom: str, keys: tuple[str, ...]
) -> None:
    for key in keys:
        if text := _text(settings, key):
            guest.note(key, f"{shown(text)} is left to {whom}")


def _read_disk(line: str, guest: Guest) -> None:
    if not line.strip():
        return
    parts = [part.strip() for part in line.split(",")]
    disk, given = GuestDisk("", "", read_only=False), {}
    for number, part in enumerate(parts):
        key, equals, value = part.partition("=")
        if equals and key.strip() == "target":  # the last: it is all that follows
            disk.path = ",".join(line.split(",")[number:]).partition("=")[2].strip()
            break
        if equals:
            given[key.strip()] = value.strip()
        elif part.split(":")[0] == "cdrom":
            disk.cdrom = True
        elif number == 0:
            ways = _WAYS_IN.match(part)
            disk.raw = not (ways and re.search("qcow2?|vhd|vdi|qed", ways[0]))
            disk.path = re.sub("^/+", "/", _WAYS_IN.sub("", part))
        elif part in _FORMATS:
            disk.raw = part == "raw"
        elif part in _ACCESS:
            disk.read_only = _ACCESS[part]
        elif part:
            _set_target(disk, part)
    _set_given(disk, given, guest)
    disk.read_only |= disk.cdrom
    guest.disks.append(disk)


def _set_target(disk: GuestDisk, text: str) -> None:
    disk.target, _, kind = text.removeprefix("ioemu:").partition(":")
    disk.cdrom |= kind == "cdrom"


def _set_given(disk: GuestDisk, given: Mapping[str, str], guest: Guest) -> None:
    for key, value in given.items():
        if key == "vdev":
            _set_target(disk, value)
        elif key == "format":
            disk.raw = value == "raw"
        elif key == "access":
            disk.read_only = _ACCESS.get(value, False)
        elif key == "devtype":
            disk.cdrom |= value == "cdrom"
        else:
            guest.note(f"disk {shown(disk.path)}", f"{shown(key)} is not carried over")


def _read_interface(line: str, what: str, guest: Guest) -> None:
    interface = GuestInterface(bridge="")
    for part in filter(None, (part.strip() for part in line.split(","))):
        key, _, value = part.partition("=")
        if key.strip() == "bridge":
            interface.bridge = value.strip()
        elif key.strip() == "mac":
            interface.mac = value.strip()
        else:
            guest.note(what, f"{shown(part)} is not carried over")
    if not interface.bridge:
        interface.bridge = _DEFAULT_BRIDGE
        guest.note(what, f"names no bridge; {_DEFAULT_BRIDGE} is taken")
    guest.interfaces.append(interface)


def _text(settings: Mapping[str, XlValue], key: str) -> str:
    value = settings.get(key, "")
    if isinstance(value, list):
        raise BadDefinition(f"{key} must be one value; got a list")
    return value


def _list(settings: Mapping[str, XlValue], key: str) -> list[str]:
    value = settings.get(key, [])
    return [value] if isinstance(value, str) else value


def _short(value: XlValue) -> str:
    return shown(value if isinstance(value, str) else ", ".join(value), 40)
