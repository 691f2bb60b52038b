"""A domain's definition as XML, built from elements, and what libvirt made of it."""

from __future__ import annotations

import re

from lxml import etree

from fleet.template.bridges import joined_bridge, networks_of
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.boot_elements import (
    BootKind,
    UefiFiles,
    boot_kind,
    check_targets,
    orders_disks,
    os_element,
)
from fleet_agent.core.domain.disks import Disk, DiskFormat
from fleet_agent.core.domain.domain_mark import mark_element, parsed
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.model import Batch

MIB = 1024 * 1024

_PLACEHOLDER = re.compile(r"\{(name|index|mac|address)\}")
_DISK_PLACEHOLDER = re.compile(r"\{(name|index)\}")
# What a definition may say of how QEMU serves a disk, beside its format.
_DRIVER_OPTIONS = ("cache", "io", "error_policy", "rerror_policy", "discard")
# What XML 1.0 cannot carry, and what has no place in a path, a name or a command line.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


# Of the cache that QEMU keeps of translated code. It grows to a gigabyte unless bounded; a small
# Linux boots as fast with 24 MiB as without a bound, and a fifth slower with 16.
TRANSLATION_CACHE_MIB = 24


def domain_xml(
    batch: Batch,
    index: int,
    disk: Disk,
    flavour: Flavour,
    console_log: str | None = None,
    uefi: UefiFiles | None = None,
) -> str:
    """The definition of one VM.

    `disk` is unused when the spec has none. `console_log`: where KVM is to write the console
    (Xen's xenconsoled writes its own). `uefi`: the host's files of UEFI, for a guest of QEMU or Xen
    that boots by it. Raises ValueError, in one sentence, for what cannot be a definition.
    """
    name = batch.fleet.domain_name(index)
    spec = batch.spec
    root = etree.Element("domain", {"type": flavour.value})
    _text(root, "name", name)
    _text(root, "uuid", str(batch.fleet.domain_uuid(index)))
    etree.SubElement(root, "metadata").append(mark_element(batch, index))
    _text(root, "memory", str(_kib(spec.memory_bytes)), unit="KiB")
    if spec.vcpus < 1:
        raise ValueError(f"{name} needs at least one vcpu")
    _text(root, "vcpu", str(spec.vcpus))
    kind = boot_kind(spec.boot, flavour)
    check_targets(spec, kind, flavour)
    _add_boot(root, batch, index, kind, flavour, uefi)
    if flavour.is_qemu:
        _add_features(root, flavour)
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        _text(root, f"on_{event}", action)
    devices = etree.SubElement(root, "devices")
    if flavour.is_qemu:
        _leave_out_devices(devices)
    if spec.disk.target:
        own = _add_disk(devices, disk, spec.disk.target, spec.disk.read_only, flavour)
        if orders_disks(kind, flavour):
            etree.SubElement(own, "boot", {"order": "1"})
    for further in spec.more_disks:
        given = Disk(further_disk_path(batch, index, further.path))
        read_only = further.read_only or further.cdrom
        _add_disk(devices, given, further.target, read_only, flavour, cdrom=further.cdrom)
    for nic, network in enumerate(networks_of(spec)):
        mac = batch.fleet.interface_mac(index, nic, network.mac_base)
        _add_interface(devices, network, mac, kind, flavour)
    _add_console(devices, flavour, console_log)
    return etree.tostring(root, encoding="unicode")


def command_line(batch: Batch, index: int) -> str:
    """The spec's command line with {name}, {index}, {mac} and {address} filled in, no others.

    Raises ValueError when an address is asked for and the network has none for this VM.
    """

    def filled(found: re.Match[str]) -> str:
        if found[1] == "address":
            return _address(batch, index)
        if found[1] == "mac":
            return batch.fleet.interface_mac(index, 0, batch.spec.network.mac_base)
        return _own(batch, index, found)

    return _PLACEHOLDER.sub(filled, batch.spec.boot.cmdline)


def further_disk_path(batch: Batch, index: int, path: str) -> str:
    """A further disk's path with {name} and {index} filled in, and nothing else."""
    return _DISK_PLACEHOLDER.sub(lambda found: _own(batch, index, found), path)


def _own(batch: Batch, index: int, found: re.Match[str]) -> str:
    return batch.fleet.domain_name(index) if found[1] == "name" else str(index)


def _address(batch: Batch, index: int) -> str:
    prefix = batch.spec.network.prefix
    if not prefix:
        name = batch.fleet.domain_name(index)
        raise ValueError(f"{name} has no address: the fleet's network has no prefix")
    return batch.fleet.interface_address(index, prefix)


def differences(asked: str, given: str) -> list[str]:
    """What libvirt changed of a definition, in words; empty when all that matters is as asked.

    Compared are type, name, UUID, how it starts, memory, vcpus, console log, translation cache,
    disks with how they are served, and interfaces.
    """
    wanted, found = _facts(asked), _facts(given)
    return [
        _difference(fact, wanted.get(fact, ""), found.get(fact, ""))
        for fact in sorted(wanted.keys() | found.keys())
        if wanted.get(fact, "") != found.get(fact, "")
    ]


def defined_disk(domain: etree._Element, target: str) -> Disk:
    """What is behind a disk of the domain; of no path where it has no such disk."""
    for disk in domain.iterfind("devices/disk"):
        device = disk.find("target")
        if device is not None and device.get("dev") == target:
            return _defined_disk(disk)
    return Disk("")


def _defined_disk(disk: etree._Element) -> Disk:
    driver = disk.find("driver")
    format = "" if driver is None else driver.get("type", "")
    return Disk(
        _source_of(disk),
        DiskFormat.QCOW2 if format == DiskFormat.QCOW2 else DiskFormat.RAW,
        _source_of(disk.find("backingStore")),
    )


def _source_of(element: etree._Element | None) -> str:
    source = None if element is None else element.find("source")
    return "" if source is None else source.get("dev") or source.get("file") or ""


def _difference(fact: str, wanted: str, found: str) -> str:
    if not found:
        return f"{fact} {wanted} was dropped"
    if not wanted:
        return f"{fact} {found} was added"
    return f"{fact} is {found} instead of {wanted}"


def _facts(xml: str) -> dict[str, str]:
    root = parsed(xml)
    paths = {
        "name": "name",
        "uuid": "uuid",
        "kernel": "os/kernel",
        "initrd": "os/initrd",
        "command line": "os/cmdline",
        "loader": "os/loader",
        "vcpus": "vcpu",
        "translation cache": "features/tcg/tb-cache",
    }
    facts = {fact: (root.findtext(path) or "").strip() for fact, path in paths.items()}
    facts["type"] = root.get("type", "")
    log = root.find("devices/serial/log")
    facts["console log"] = "" if log is None else log.get("file", "")
    full = root.findtext("os/type") == "hvm"  # Xen's other kind is read back as linux or as xen
    facts["virtualisation"] = "full" if full else "para"
    nvram, boot, bios = (root.find(f"os/{name}") for name in ("nvram", "boot", "bios"))
    facts["console of the BIOS"] = "" if bios is None else bios.get("useserial", "")
    facts["variables of UEFI"] = "" if nvram is None else f"from {nvram.get('template', '')}"
    if (
        facts["type"] == Flavour.XEN and boot is not None
    ):  # QEMU's driver adds one that says no more
        facts["boot device"] = boot.get("dev", "")
    memory = root.find("memory")
    if memory is not None:
        facts["memory"] = f"{(memory.text or '').strip()} {memory.get('unit', 'KiB')}"
    for disk in root.iterfind("devices/disk"):
        target = disk.find("target")
        where = "" if target is None else target.get("dev", "")
        access = "" if disk.find("readonly") is None else " (read-only)"
        kind = " (cdrom)" if disk.get("device") == "cdrom" else ""
        order = disk.find("boot")
        if order is not None:
            facts[f"boot order of disk {where}"] = order.get("order", "")
        facts[f"disk {where}"] = _disk_in_words(_defined_disk(disk)) + kind + access
        facts[f"driver of disk {where}"] = _driver_in_words(disk.find("driver"))
    for number, interface in enumerate(root.iterfind("devices/interface")):
        mac, source = interface.find("mac"), interface.find("source")
        facts[f"mac of interface {number}"] = "" if mac is None else mac.get("address", "").lower()
        facts[f"bridge of interface {number}"] = "" if source is None else source.get("bridge", "")
        mtu = interface.find("mtu")
        facts[f"MTU of interface {number}"] = "" if mtu is None else mtu.get("size", "")
    return facts


def _disk_in_words(disk: Disk) -> str:
    words = disk.path or "(no source)"
    if disk.format is not DiskFormat.RAW:
        words += f" ({disk.format})"
    return f"{words} over {disk.backing}" if disk.backing else words


def _driver_in_words(driver: etree._Element | None) -> str:
    if driver is None:
        return ""
    given = ((name, driver.get(name, "")) for name in _DRIVER_OPTIONS)
    return " ".join(f"{name}={value}" for name, value in given if value)


def _add_boot(
    root: etree._Element,
    batch: Batch,
    index: int,
    kind: BootKind,
    flavour: Flavour,
    uefi: UefiFiles | None,
) -> None:
    boot = batch.spec.boot
    cmdline = command_line(batch, index) if kind is BootKind.KERNEL else ""
    for what, text in (("kernel", boot.kernel), ("initrd", boot.initrd), ("cmdline", cmdline)):
        _clean(text, what)
    root.append(os_element(boot, kind, flavour, cmdline, uefi))


def _add_features(root: etree._Element, flavour: Flavour) -> None:
    """Without ACPI an idle Linux polls its timer: 3 % of a core instead of 0.4."""
    features = etree.SubElement(root, "features")
    etree.SubElement(features, "acpi")
    if flavour is Flavour.TCG:
        cache = etree.SubElement(features, "tcg")
        _text(cache, "tb-cache", str(TRANSLATION_CACHE_MIB * 1024), unit="KiB")


def _leave_out_devices(devices: etree._Element) -> None:
    """What libvirt adds to each domain of QEMU unless told not to, and nobody asked for."""
    etree.SubElement(devices, "controller", {"type": "usb", "model": "none"})
    etree.SubElement(devices, "memballoon", {"model": "none"})


def _add_disk(
    devices: etree._Element,
    source: Disk,
    target: str,
    read_only: bool,
    flavour: Flavour,
    *,
    cdrom: bool = False,
) -> etree._Element:
    if source.format is not DiskFormat.RAW and not flavour.is_qemu:
        raise ValueError(
            f"the disk {source.path} is {source.format}, which is served on QEMU alone and not on "
            f"{flavour}; the agent's setting storage.kind must be zfs or reflink here"
        )
    kind, device = "block" if source.is_block else "file", "cdrom" if cdrom else "disk"
    disk = etree.SubElement(devices, "disk", {"type": kind, "device": device})
    if flavour.is_qemu:
        etree.SubElement(disk, "driver", _qemu_driver(source))
    else:
        etree.SubElement(disk, "driver", {"name": "phy" if source.is_block else "file"})
    _add_source(disk, source.path)
    if source.backing:
        _add_backing(disk, source.backing)
    bus = ("ide" if cdrom else "virtio") if flavour.is_qemu else "xen"
    etree.SubElement(disk, "target", {"dev": _clean(target, "target of the disk"), "bus": bus})
    if read_only:
        etree.SubElement(disk, "readonly")
    return disk


def _qemu_driver(source: Disk) -> dict[str, str]:
    """A guest whose disk is full or broken is paused, and goes on when it is mended: told of the
    error, it would be left with a file system that it mounts read-only. What it discards is given
    back. Volumes have a cache of their own (ZFS), files share the host's pages of their image."""
    driver = {"name": "qemu", "type": source.format.value}
    if source.is_block:
        driver |= {"cache": "none", "io": "native"}
    return driver | {"error_policy": "stop", "rerror_policy": "stop", "discard": "unmap"}


def _add_source(parent: etree._Element, path: str) -> etree._Element:
    given = {"dev" if path.startswith("/dev/") else "file": _clean(path, "source of the disk")}
    return etree.SubElement(parent, "source", given)


def _add_backing(disk: etree._Element, path: str) -> None:
    """The whole chain, so that neither libvirt nor QEMU looks for one in the files. The image
    stays whose it is: given to QEMU's user, any guest that broke out could write to it."""
    backing = etree.SubElement(disk, "backingStore", {"type": "file"})
    etree.SubElement(backing, "format", {"type": DiskFormat.RAW.value})
    source = _add_source(backing, path)
    etree.SubElement(source, "seclabel", {"model": "dac", "relabel": "no"})
    etree.SubElement(backing, "backingStore")


def _add_interface(
    devices: etree._Element, network: types.Network, mac: str, kind: BootKind, flavour: Flavour
) -> None:
    """Xen's scripts give the interface the MTU of its bridge, and read no other."""
    interface = etree.SubElement(devices, "interface", {"type": "bridge"})
    etree.SubElement(interface, "mac", {"address": mac})
    etree.SubElement(interface, "source", {"bridge": _clean(joined_bridge(network), "bridge")})
    if flavour.is_qemu and network.mtu:
        etree.SubElement(interface, "mtu", {"size": str(network.mtu)})
    if flavour.is_qemu:
        etree.SubElement(interface, "model", {"type": "virtio"})
    elif flavour is Flavour.XEN and kind.is_firmware:
        # Without it libxl has a network card emulated beside the paravirtual one.
        etree.SubElement(interface, "model", {"type": "netfront"})


def _add_console(devices: etree._Element, flavour: Flavour, log: str | None) -> None:
    if flavour.is_qemu:
        serial = etree.SubElement(devices, "serial", {"type": "pty"})
        if log:
            etree.SubElement(serial, "log", {"file": _clean(log, "console log"), "append": "on"})
        etree.SubElement(serial, "target", {"port": "0"})
    console = etree.SubElement(devices, "console", {"type": "pty"})
    kind = "serial" if flavour.is_qemu else "xen"
    etree.SubElement(console, "target", {"type": kind, "port": "0"})


def _text(parent: etree._Element, tag: str, text: str, **attributes: str) -> None:
    etree.SubElement(parent, tag, attributes).text = _clean(text, tag)


def _clean(text: str, what: str) -> str:
    found = _CONTROL.search(text)
    if found:
        raise ValueError(
            f"the {what} {text[:60]!r} holds the character {found[0]!r}, which no definition may"
        )
    return text


def _kib(size: int) -> int:
    if size < MIB or size % MIB:
        raise ValueError(f"memory must be a multiple of 1 MiB, and is {size} bytes")
    return size // 1024
