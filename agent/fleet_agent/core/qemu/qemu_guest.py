"""One VM of a batch as QEMU is to run it, and what of a template it cannot carry."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from fleet.template.bridges import joined_bridge, networks_of
from fleet.template.placeholders import filled
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.boot_elements import BootKind, boot_kind, check_targets
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.domain.domain_texts import clean
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.model import Batch
from fleet_agent.core.qemu.identity_message import split_words
from fleet_agent.core.qemu.machine import IDENTITY_WORD, Guest, Nic
from fleet_agent.core.vm_values import vm_values

MIB = 1 << 20


def guest_of(batch: Batch, index: int, disk: Disk | None, flavour: Flavour) -> Guest:
    """The command line is what all VMs of the batch have alike. Raises ValueError, in one sentence,
    for what QEMU is not given by this driver."""
    spec, fleet = batch.spec, batch.fleet
    name = fleet.domain_name(index)
    if boot_kind(spec.boot, flavour) is not BootKind.KERNEL:
        raise ValueError("start: a clone is made of a guest that starts by boot.kernel")
    check_targets(spec, BootKind.KERNEL, flavour)
    if spec.more_disks:
        raise ValueError("start: a clone has one disk, its own; 'disks' is not carried")
    if spec.HasField("identity"):
        raise ValueError(
            "start: a clone is told who it is over its port; 'identity' is not carried"
        )
    if spec.memory_bytes < MIB or spec.memory_bytes % MIB or spec.vcpus < 1:
        raise ValueError(f"{name} needs a vcpu and whole MiB of memory")
    for what, text in (("kernel", spec.boot.kernel), ("initrd", spec.boot.initrd)):
        clean(text, what)
    nics = tuple(
        Nic(
            fleet.interface_mac(index, number, network.mac_base),
            joined_bridge(network),
            tap_of(str(fleet.domain_uuid(index)), number),
            network.mtu,
        )
        for number, network in enumerate(networks_of(spec))
    )
    common, _ = split_words(clean(spec.boot.cmdline, "command line"))
    return Guest(
        name,
        str(fleet.domain_uuid(index)),
        spec.memory_bytes,
        spec.vcpus,
        spec.boot.kernel,
        spec.boot.initrd,
        f"{filled(common, {})} {IDENTITY_WORD}".strip(),
        disk if spec.disk.target else None,
        spec.disk.read_only,
        nics,
    )


def own_values(batch: Batch, index: int) -> dict[str, str]:
    """What a VM is told besides its name: the words of the command line that are its own, and its
    address. Raises ValueError for one that it has not."""
    _, own = split_words(batch.spec.boot.cmdline)
    values = {}
    if own:
        values["cmdline"] = filled(own, vm_values(batch, index, [own]))
    network = batch.spec.network
    if network.prefix:
        values["address"] = batch.fleet.interface_address(index, network.prefix)
    if network.gateway:
        values["gateway"] = network.gateway
    if network.dns:
        values["dns"] = ",".join(network.dns)
    return values


def template_of(guest: Guest) -> Guest:
    """The guest that is frozen for this one and its kind: nobody's name, address or number."""
    nics = tuple(
        replace(nic, mac=f"06:00:00:00:00:{number:02x}", tap="")
        for number, nic in enumerate(guest.nics)
    )
    return replace(guest, name="template", uuid="00000000-0000-0000-0000-000000000000", nics=nics)


def tap_of(uuid: str, number: int) -> str:
    """At most 15 characters, the same for each life of the VM and no other's."""
    return f"mf{hashlib.sha256(f'{uuid} {number}'.encode()).hexdigest()[:12]}"


def wants_clone(spec: types.FleetSpec) -> bool:
    return spec.start == types.START_CLONE
