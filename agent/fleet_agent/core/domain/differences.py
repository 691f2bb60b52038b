"""What libvirt made of a domain's definition: what it changed of all that matters."""

from __future__ import annotations

from fleet_agent.core.domain.disk_elements import disk_in_words, driver_in_words, read_disk
from fleet_agent.core.domain.domain_mark import parsed
from fleet_agent.core.domain.flavour import Flavour


def differences(asked: str, given: str) -> list[str]:
    """What libvirt changed of a definition, in words; empty when all that matters is as asked.

    Compared are type, name, UUID, how it starts, memory, vcpus, console log, translation cache,
    disks with how they are served, channels, and interfaces.
    """
    wanted, found = _facts(asked), _facts(given)
    return [
        _difference(fact, wanted.get(fact, ""), found.get(fact, ""))
        for fact in sorted(wanted.keys() | found.keys())
        if wanted.get(fact, "") != found.get(fact, "")
    ]


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
    if facts["type"] == Flavour.XEN and boot is not None:  # QEMU's adds one that says no more
        facts["boot device"] = boot.get("dev", "")
    for channel in root.iterfind("devices/channel/target"):
        if name := channel.get("name"):  # libvirt adds others for displays
            facts[f"channel {name}"] = channel.get("type", "")
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
        facts[f"disk {where}"] = disk_in_words(read_disk(disk)) + kind + access
        facts[f"driver of disk {where}"] = driver_in_words(disk.find("driver"))
    for number, interface in enumerate(root.iterfind("devices/interface")):
        mac, source = interface.find("mac"), interface.find("source")
        facts[f"mac of interface {number}"] = "" if mac is None else mac.get("address", "").lower()
        facts[f"bridge of interface {number}"] = "" if source is None else source.get("bridge", "")
        mtu = interface.find("mtu")
        facts[f"MTU of interface {number}"] = "" if mtu is None else mtu.get("size", "")
    return facts
