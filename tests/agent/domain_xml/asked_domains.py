"""Domains as they are asked for: a batch of one VM, with what a test changes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lxml import etree

from fleet.identity import Fleet
from fleet.keys import Epoch, Kin, Term
from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.disks import Disk, DiskFormat
from fleet_agent.core.domain.domain_mark import (
    parsed,
)
from fleet_agent.core.domain.domain_xml import domain_xml
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.model import Batch, Mark

FLEET = Fleet("8e3a4f62-6a0c-4b3e-9d51-0f6a4c1b7d10", "spv", 7, site=1)
KIN = Kin(FLEET.uid, 3, 41)
MARK = Mark(Term(1, 10), Epoch(1, 20))
DISK = Disk("/dev/zvol/tank/spv-250")
FILE = Disk("/srv/clones/spv-250")
QEMU_DRIVER = {
    "name": "qemu", "type": "raw", "error_policy": "stop", "rerror_policy": "stop",
    "discard": "unmap",
}  # fmt: skip
OVERLAY = replace(FILE, format=DiskFormat.QCOW2, backing="/srv/images/golden@g")

Change = Callable[[types.FleetSpec], object]


def batch(*changes: Change) -> Batch:
    spec = types.FleetSpec(
        memory_bytes=72 << 20,
        vcpus=2,
        boot=types.Boot(kernel="/boot/vmlinuz", initrd="/boot/initrd", cmdline="root=/dev/xvda"),
        disk=types.Disk(target="xvda"),
        network=types.Network(bridge="xenbr0", prefix="10.77.0.0/16"),
    )
    for change in changes:
        change(spec)
    return Batch(FLEET, KIN, spec, MARK, IndexSet.of([250]))


def definition(
    *changes: Change, flavour: Flavour = Flavour.XEN, disk: Disk = DISK
) -> etree._Element:
    return parsed(domain_xml(batch(*changes), 250, disk, flavour, "/var/log/spv-250.log"))


def cmdline(text: str) -> Change:
    return lambda spec: setattr(spec.boot, "cmdline", text)


def address_from(prefix: str) -> Change:
    def change(spec: types.FleetSpec) -> None:
        spec.network.prefix, spec.boot.cmdline = prefix, "ip={address}"

    return change


def attributes(element: etree._Element, path: str) -> dict[str, str]:
    found = element.find(path)
    assert found is not None
    return {str(name): str(value) for name, value in found.attrib.items()}
