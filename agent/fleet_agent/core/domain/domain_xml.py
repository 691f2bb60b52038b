"""A domain's definition as XML, built from elements, and what libvirt made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from lxml import etree

from fleet.template.identity_fields import SEED_TARGETS
from fleet.template.placeholders import filled
from fleet_agent.core.domain.domain_mark import mark_element, parsed
from fleet_agent.core.model import Batch
from fleet_agent.core.vm_values import name_values, vm_values

MIB = 1024 * 1024

# What XML 1.0 cannot carry, and what has no place in a path, a name or a command line.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Flavour(StrEnum):
    """Which libvirt driver the definition is for; the value is <domain type=...>."""

    XEN = "xen"  # paravirtualised, machine xenpv
    KVM = "kvm"  # QEMU with KVM
    TCG = "qemu"  # QEMU that emulates
    TEST = "test"  # libvirt's in-process mock

    @property
    def is_qemu(self) -> bool:
        return self in (Flavour.KVM, Flavour.TCG)


# Of the cache that QEMU keeps of translated code. It grows to a gigabyte unless bounded; a small
# Linux boots as fast with 24 MiB as without a bound, and a fifth slower with 16.
TRANSLATION_CACHE_MIB = 24


# Where a VM finds its seed, and whether it is QEMU that gives it.
SEED_TARGET = dict(zip((False, True), SEED_TARGETS, strict=True))

# How each driver boots a kernel directly: the text of <os><type> and its attributes. Another kind
# of boot (pvgrub, PVH, HVM) is another such table.
_DIRECT_BOOT: Mapping[Flavour, tuple[str, Mapping[str, str]]] = {
    Flavour.XEN: ("linux", {"arch": "x86_64", "machine": "xenpv"}),
    Flavour.KVM: ("hvm", {}),
    Flavour.TCG: ("hvm", {}),
    # libvirt's test driver keeps <kernel> for "xen" and drops it silently for "linux".
    Flavour.TEST: ("xen", {}),
}


def domain_xml(
    batch: Batch,
    index: int,
    disk_path: str,
    flavour: Flavour,
    console_log: str | None = None,
    seed: str | None = None,
) -> str:
    """The definition of one VM.

    `disk_path` below /dev is a block device, anything else a file; it is unused when the spec
    has no disk. `console_log`: where KVM is to write the console (Xen's xenconsoled writes its
    own). `seed`: the file that says who it is. Raises ValueError, in one sentence, for what cannot
    be a definition.
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
    _add_boot(root, batch, index, flavour)
    if flavour.is_qemu:
        _add_features(root, flavour)
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        _text(root, f"on_{event}", action)
    devices = etree.SubElement(root, "devices")
    if flavour.is_qemu:
        _leave_out_devices(devices)
    if spec.disk.target:
        _add_disk(devices, disk_path, spec.disk.target, spec.disk.read_only, flavour)
    for disk in spec.more_disks:
        path = further_disk_path(batch, index, disk.path)
        _add_disk(devices, path, disk.target, disk.read_only, flavour)
    if seed:  # the last disk: no other's name in the guest is another for it
        _add_disk(devices, seed, SEED_TARGET[flavour.is_qemu], True, flavour)
    networks = [*([spec.network] if spec.HasField("network") else []), *spec.more_networks]
    for nic, network in enumerate(networks):
        _add_interface(devices, network.bridge, batch.fleet.mac(index, nic), flavour)
    _add_console(devices, flavour, console_log)
    return etree.tostring(root, encoding="unicode")


def command_line(batch: Batch, index: int) -> str:
    """The spec's command line with all placeholders filled in, and nothing else.

    Raises ValueError when something of the network is asked for that this VM has not.
    """
    text = batch.spec.boot.cmdline
    return filled(text, vm_values(batch, index, [text]))


def further_disk_path(batch: Batch, index: int, path: str) -> str:
    """A further disk's path with {name} and {index} filled in, and nothing else."""
    return filled(path, name_values(batch, index))


def differences(asked: str, given: str) -> list[str]:
    """What libvirt changed of a definition, in words; empty when all that matters is as asked.

    Compared are type, name, UUID, kernel, initrd, command line, memory, vcpus, console log,
    translation cache, disks and interfaces.
    """
    wanted, found = _facts(asked), _facts(given)
    return [
        _difference(fact, wanted.get(fact, ""), found.get(fact, ""))
        for fact in sorted(wanted.keys() | found.keys())
        if wanted.get(fact, "") != found.get(fact, "")
    ]


def disk_source(domain: etree._Element, target: str) -> str:
    """What is behind a disk of the domain; empty where it has no such disk."""
    for disk in domain.iterfind("devices/disk"):
        device, source = disk.find("target"), disk.find("source")
        if device is not None and source is not None and device.get("dev") == target:
            return source.get("dev") or source.get("file") or ""
    return ""


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
        "vcpus": "vcpu",
        "translation cache": "features/tcg/tb-cache",
    }
    facts = {fact: (root.findtext(path) or "").strip() for fact, path in paths.items()}
    facts["type"] = root.get("type", "")
    log = root.find("devices/serial/log")
    facts["console log"] = "" if log is None else log.get("file", "")
    memory = root.find("memory")
    if memory is not None:
        facts["memory"] = f"{(memory.text or '').strip()} {memory.get('unit', 'KiB')}"
    for disk in root.iterfind("devices/disk"):
        target, source = disk.find("target"), disk.find("source")
        where = "" if target is None else target.get("dev", "")
        what = "" if source is None else source.get("dev") or source.get("file") or ""
        access = "" if disk.find("readonly") is None else " (read-only)"
        facts[f"disk {where}"] = (what or "(no source)") + access
    for number, interface in enumerate(root.iterfind("devices/interface")):
        mac, source = interface.find("mac"), interface.find("source")
        facts[f"mac of interface {number}"] = "" if mac is None else mac.get("address", "").lower()
        facts[f"bridge of interface {number}"] = "" if source is None else source.get("bridge", "")
    return facts


def _add_boot(root: etree._Element, batch: Batch, index: int, flavour: Flavour) -> None:
    boot = etree.SubElement(root, "os")
    kind, attributes = _DIRECT_BOOT[flavour]
    _text(boot, "type", kind, **attributes)
    if not batch.spec.boot.kernel:
        raise ValueError(f"{batch.fleet.domain_name(index)} has no kernel")
    _text(boot, "kernel", batch.spec.boot.kernel)
    if batch.spec.boot.initrd:
        _text(boot, "initrd", batch.spec.boot.initrd)
    if batch.spec.boot.cmdline:
        _text(boot, "cmdline", command_line(batch, index))


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
    devices: etree._Element, path: str, target: str, read_only: bool, flavour: Flavour
) -> None:
    block = path.startswith("/dev/")
    disk = etree.SubElement(
        devices, "disk", {"type": "block" if block else "file", "device": "disk"}
    )
    if flavour.is_qemu:
        etree.SubElement(disk, "driver", {"name": "qemu", "type": "raw"})
    else:
        etree.SubElement(disk, "driver", {"name": "phy" if block else "file"})
    source = _clean(path, "source of the disk")
    etree.SubElement(disk, "source", {"dev" if block else "file": source})
    bus = "virtio" if flavour.is_qemu else "xen"
    etree.SubElement(disk, "target", {"dev": _clean(target, "target of the disk"), "bus": bus})
    if read_only:
        etree.SubElement(disk, "readonly")


def _add_interface(devices: etree._Element, bridge: str, mac: str, flavour: Flavour) -> None:
    interface = etree.SubElement(devices, "interface", {"type": "bridge"})
    etree.SubElement(interface, "mac", {"address": mac})
    etree.SubElement(interface, "source", {"bridge": _clean(bridge, "bridge")})
    if flavour.is_qemu:
        etree.SubElement(interface, "model", {"type": "virtio"})


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
