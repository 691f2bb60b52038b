"""A domain's definition as XML, built from elements."""

from __future__ import annotations

from lxml import etree

from fleet.template.bridges import joined_bridge, networks_of
from fleet.template.identity_fields import SEED_TARGETS
from fleet.template.placeholders import filled
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.boot_elements import (
    BootKind,
    UefiFiles,
    boot_kind,
    check_targets,
    orders_disks,
    os_element,
)
from fleet_agent.core.domain.disk_elements import add_disk
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.domain.domain_mark import mark_element
from fleet_agent.core.domain.domain_texts import clean
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.model import Batch
from fleet_agent.core.vm_values import name_values, vm_values

MIB = 1024 * 1024

# Of the cache that QEMU keeps of translated code. It grows to a gigabyte unless bounded; a small
# Linux boots as fast with 24 MiB as without a bound, and a fifth slower with 16.
TRANSLATION_CACHE_MIB = 20

# The name by which qemu-guest-agent finds it in the guest, and libvirt beside it.
AGENT_CHANNEL = "org.qemu.guest_agent.0"

# Where a VM finds its seed, and whether it is QEMU that gives it.
SEED_TARGET = dict(zip((False, True), SEED_TARGETS, strict=True))


def domain_xml(
    batch: Batch,
    index: int,
    disk: Disk,
    flavour: Flavour,
    console_log: str | None = None,
    uefi: UefiFiles | None = None,
    seed: str | None = None,
) -> str:
    """The definition of one VM.

    `disk` is unused when the spec has none. `console_log`: where KVM is to write the console
    (Xen's xenconsoled writes its own). `uefi`: the host's files of UEFI, for a guest of QEMU or Xen
    that boots by it. `seed`: the file that says who it is. Raises ValueError, in one sentence, for
    what cannot be a definition.
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
        own = add_disk(devices, disk, spec.disk.target, spec.disk.read_only, flavour)
        if orders_disks(kind, flavour):
            etree.SubElement(own, "boot", {"order": "1"})
    for further in spec.more_disks:
        given = Disk(further_disk_path(batch, index, further.path))
        read_only = further.read_only or further.cdrom
        add_disk(devices, given, further.target, read_only, flavour, cdrom=further.cdrom)
    if seed:  # the last disk: no other's name in the guest is another for it
        add_disk(devices, Disk(seed), SEED_TARGET[flavour.is_qemu], True, flavour)
    for nic, network in enumerate(networks_of(spec)):
        mac = batch.fleet.interface_mac(index, nic, network.mac_base)
        _add_interface(devices, network, mac, kind, flavour)
    _add_console(devices, flavour, console_log)
    if spec.guest_agent and flavour.is_qemu:
        _add_agent_channel(devices)
    return etree.tostring(root, encoding="unicode")


def command_line(batch: Batch, index: int) -> str:
    """What the template's text becomes for this VM. Raises ValueError for an address that it has
    not."""
    text = batch.spec.boot.cmdline
    return filled(text, vm_values(batch, index, [text]))


def further_disk_path(batch: Batch, index: int, path: str) -> str:
    """A further disk's path with {name} and {index} filled in, and nothing else."""
    return filled(path, name_values(batch, index))


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
        clean(text, what)
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


def _add_interface(
    devices: etree._Element, network: types.Network, mac: str, kind: BootKind, flavour: Flavour
) -> None:
    """Xen's scripts give the interface the MTU of its bridge, and read no other."""
    interface = etree.SubElement(devices, "interface", {"type": "bridge"})
    etree.SubElement(interface, "mac", {"address": mac})
    etree.SubElement(interface, "source", {"bridge": clean(joined_bridge(network), "bridge")})
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
            etree.SubElement(serial, "log", {"file": clean(log, "console log"), "append": "on"})
        etree.SubElement(serial, "target", {"port": "0"})
    console = etree.SubElement(devices, "console", {"type": "pty"})
    kind = "serial" if flavour.is_qemu else "xen"
    etree.SubElement(console, "target", {"type": kind, "port": "0"})


def _add_agent_channel(devices: etree._Element) -> None:
    """libvirt chooses the socket."""
    channel = etree.SubElement(devices, "channel", {"type": "unix"})
    etree.SubElement(channel, "target", {"type": "virtio", "name": AGENT_CHANNEL})


def _text(parent: etree._Element, tag: str, text: str, **attributes: str) -> None:
    etree.SubElement(parent, tag, attributes).text = clean(text, tag)


def _kib(size: int) -> int:
    if size < MIB or size % MIB:
        raise ValueError(f"memory must be a multiple of 1 MiB, and is {size} bytes")
    return size // 1024
