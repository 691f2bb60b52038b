"""A disk in a domain's definition: how it is written, how it is read back, and in words."""

from __future__ import annotations

from lxml import etree

from fleet_agent.core.domain.disks import Disk, DiskFormat
from fleet_agent.core.domain.domain_texts import clean
from fleet_agent.core.domain.flavour import Flavour

# What a definition may say of how QEMU serves a disk, beside its format.
_DRIVER_OPTIONS = ("cache", "io", "error_policy", "rerror_policy", "discard")


def add_disk(
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
    etree.SubElement(disk, "target", {"dev": clean(target, "target of the disk"), "bus": bus})
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
    given = {"dev" if path.startswith("/dev/") else "file": clean(path, "source of the disk")}
    return etree.SubElement(parent, "source", given)


def _add_backing(disk: etree._Element, path: str) -> None:
    """The whole chain, so that neither libvirt nor QEMU looks for one in the files. The image
    stays whose it is: given to QEMU's user, any guest that broke out could write to it."""
    backing = etree.SubElement(disk, "backingStore", {"type": "file"})
    etree.SubElement(backing, "format", {"type": DiskFormat.RAW.value})
    source = _add_source(backing, path)
    etree.SubElement(source, "seclabel", {"model": "dac", "relabel": "no"})
    etree.SubElement(backing, "backingStore")


def defined_disk(domain: etree._Element, target: str) -> Disk:
    """What is behind a disk of the domain; of no path where it has no such disk."""
    for disk in domain.iterfind("devices/disk"):
        device = disk.find("target")
        if device is not None and device.get("dev") == target:
            return read_disk(disk)
    return Disk("")


def read_disk(disk: etree._Element) -> Disk:
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


def disk_in_words(disk: Disk) -> str:
    words = disk.path or "(no source)"
    if disk.format is not DiskFormat.RAW:
        words += f" ({disk.format})"
    return f"{words} over {disk.backing}" if disk.backing else words


def driver_in_words(driver: etree._Element | None) -> str:
    if driver is None:
        return ""
    given = ((name, driver.get(name, "")) for name in _DRIVER_OPTIONS)
    return " ".join(f"{name}={value}" for name, value in given if value)
