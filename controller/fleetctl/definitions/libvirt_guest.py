"""A guest as libvirt's domain XML says it. Entities are not resolved, and nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lxml import etree

from fleet.template.field import KIB, MIB, shown
from fleetctl.definitions.guest import BadDefinition, Guest, GuestDisk, GuestInterface, number_in

# Bytes by libvirt's names of units; KiB without one.
_UNITS: Mapping[str, int] = {
    "b": 1, "bytes": 1, "KB": 1000, "k": KIB, "KiB": KIB, "MB": 1000**2, "M": MIB, "MiB": MIB,
    "GB": 1000**3, "G": 1024 * MIB, "GiB": 1024 * MIB,
}  # fmt: skip
_READ = {"name", "memory", "currentMemory", "vcpu", "os", "devices", "bootloader"}
# What every definition has and a fleet's VMs have as well, or is libvirt's own affair.
_PASSED = {
    "id", "resource", "on_poweroff", "on_reboot", "on_crash", "metadata", "features", "clock", "pm",
    "seclabel",
}  # fmt: skip
_PASSED_DEVICES = {"emulator", "controller", "console", "serial", "input", "memballoon", "audio"}
_FIRMWARES = ("ovmf", "edk2", "efi")
_MOST_TEXT = 4096
_NO_DOCTYPE = "the XML has a DOCTYPE, which no domain's definition needs"


def libvirt_guest(content: bytes) -> Guest:
    """Raises BadDefinition."""
    root = _root(content)
    guest = Guest(name=_text(root, "name"))
    memory = root.find("memory")
    if memory is not None:
        guest.memory_bytes = _bytes(memory, guest)
    current = root.find("currentMemory")
    if current is not None and memory is not None and _bytes(current, guest) < guest.memory_bytes:
        guest.note("currentMemory", "VMs of a fleet have all of their memory; the whole is taken")
    guest.vcpus = number_in(_text(root, "vcpu") or "1", "vcpu")
    vcpu = root.find("vcpu")
    if vcpu is not None and vcpu.get("current", str(guest.vcpus)) != str(guest.vcpus):
        guest.note("vcpu current", "VMs of a fleet have all of their vcpus; the whole is taken")
    _read_boot(root, guest)
    for disk in root.iterfind("devices/disk"):
        _read_disk(disk, guest)
    for number, interface in enumerate(root.iterfind("devices/interface")):
        _read_interface(interface, f"interface {number}", guest)
    if root.find("uuid") is not None:
        guest.note("uuid", "follows from the fleet and the VM's index")
    for tag in _tags(root):
        if tag not in _READ | _PASSED | {"uuid"}:
            guest.note(f"<{tag}>", "has no counterpart in a fleet file")
    devices = root.find("devices")
    for tag in _tags(devices) if devices is not None else ():
        if tag not in _PASSED_DEVICES | {"disk", "interface"}:
            guest.note(f"<{tag}>", "is a device that VMs of a fleet have not")
    return guest


def _root(content: bytes) -> etree._Element:
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    if b"<!DOCTYPE" in content:  # before anything of it is read
        raise BadDefinition(_NO_DOCTYPE)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise BadDefinition(f"not XML: {shown(str(error.msg), 120)}") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise BadDefinition(_NO_DOCTYPE)  # in another encoding
    if root.tag != "domain":
        raise BadDefinition(f"<domain> was expected; got {shown(f'<{root.tag}>')}")
    return root


def _read_boot(root: etree._Element, guest: Guest) -> None:
    system = root.find("os")
    if root.findtext("bootloader"):
        guest.loader = "pvgrub"
        guest.note("<bootloader>", "is now boot.loader: pvgrub, of Debian's grub-xen-host")
        return
    if system is None:
        guest.firmware = "bios"
        guest.note("<os>", "is absent; a BIOS starts the disk")
        return
    kernel, loader = _text(system, "kernel"), _text(system, "loader")
    if kernel and "grub" in kernel.rpartition("/")[2]:
        guest.loader = "pvgrub"
        guest.note("<kernel>", f"{shown(kernel)} is now boot.loader: pvgrub")
    elif kernel:
        guest.kernel, guest.initrd = kernel, _text(system, "initrd")
        guest.cmdline = _text(system, "cmdline")
    else:
        efi = system.get("firmware") == "efi" or any(one in loader.lower() for one in _FIRMWARES)
        guest.firmware = "uefi" if efi else "bios"
    kind = system.find("type")
    if kind is not None and kind.get("machine", "").startswith("xenpvh"):
        guest.note("<type>", "pvh is not known to fleets; on Xen a kernel is started as pv")
    if kind is not None and kind.get("arch", "x86_64") != "x86_64":
        guest.note("<type>", f"the guest is of {shown(kind.get('arch', ''))}, VMs are of x86_64")
    if system.find("loader[@secure='yes']") is not None:
        guest.note("<loader>", "Secure Boot is not carried over")


def _read_disk(element: etree._Element, guest: Guest) -> None:
    source, target = element.find("source"), element.find("target")
    name = "" if target is None else target.get("dev", "")
    path = "" if source is None else source.get("file") or source.get("dev") or ""
    kind = element.get("device", "disk")
    if kind not in ("disk", "cdrom"):
        guest.note(f"disk {shown(name)}", f"is a {shown(kind)}, and is left out")
        return
    if element.get("type") not in ("file", "block"):
        guest.note(f"disk {shown(name)}", "has neither a file nor a device, and is left out")
        return
    driver = element.find("driver")
    raw = driver is None or driver.get("type", "raw") == "raw"
    read_only = element.find("readonly") is not None or kind == "cdrom"
    guest.disks.append(GuestDisk(name, path, read_only, cdrom=kind == "cdrom", raw=raw))


def _read_interface(element: etree._Element, what: str, guest: Guest) -> None:
    source, mac = element.find("source"), element.find("mac")
    bridge = "" if source is None else source.get("bridge", "")
    if not bridge:
        guest.note(
            what,
            f"is of the kind {shown(element.get('type', ''))} and joins no bridge by name; it is "
            "left out",
        )
        return
    for tag in _tags(element):
        if tag not in ("source", "mac", "model", "target", "alias", "address"):
            guest.note(what, f"<{tag}> is not carried over")
    guest.interfaces.append(GuestInterface(bridge, "" if mac is None else mac.get("address", "")))


def _bytes(memory: etree._Element, guest: Guest) -> int:
    unit = memory.get("unit", "KiB")
    if unit not in _UNITS:
        raise BadDefinition(f"memory is in {shown(unit)}, which is no unit of libvirt")
    size = number_in(memory.text or "", "memory") * _UNITS[unit]
    if size % MIB:
        guest.note("<memory>", "is rounded up to whole MiB")
    return -(-size // MIB) * MIB


def _tags(element: etree._Element) -> Iterator[str]:
    """The names of its children, whatever their namespaces."""
    for child in element:
        if isinstance(child.tag, str):  # no comment
            yield shown(etree.QName(child).localname)[1:-1]


def _text(element: etree._Element, path: str) -> str:
    text = (element.findtext(path) or "").strip()
    if len(text) > _MOST_TEXT:
        raise BadDefinition(f"<{path}> is longer than {_MOST_TEXT} characters")
    return text
