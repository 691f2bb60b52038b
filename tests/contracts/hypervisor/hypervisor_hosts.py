"""Hosts to hold a Hypervisor against: a hollow one, isolated test:// hosts of libvirt, and a real
Xen dom0 where MEGAFLEET_XEN_URI names its libvirt (pytest -k xen, as root; see XenHost)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from fleet.identity import Fleet
from fleet.keys import Epoch, Kin, Term
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.model import Batch, Mark, Phase, StepFailure, StepResult
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.libvirt import binding as libvirt_binding
from fleet_agent.drivers.libvirt.binding import Connection
from fleet_agent.drivers.libvirt.domains.definitions import SeedPath
from fleet_agent.drivers.libvirt.hypervisor import LibvirtHypervisor, no_seeds
from fleet_agent.drivers.ports.hypervisor import Hypervisor

FLEET = Fleet("8e3a4f62-6a0c-4b3e-9d51-0f6a4c1b7d10", "spv", 7, site=1)
KIN = Kin(FLEET.uid, 3, 41)
OTHER = replace(FLEET, uid="11111111-6a0c-4b3e-9d51-0f6a4c1b7d10")
SPEC = types.FleetSpec(
    image=types.Image(name="golden", snapshot="g"),
    memory_bytes=4 << 20,
    vcpus=1,
    boot=types.Boot(kernel="/boot/tiny", initrd="/boot/initrd", cmdline="id={index} mac={mac}"),
    disk=types.Disk(target="xvda"),
    network=types.Network(bridge="xenbr0"),
    readiness=types.Readiness(domain_active=True, timeout_seconds=30),
)

NODE = """<node><cpu><mhz>2000</mhz><model>x</model><active>4</active><nodes>1</nodes>
<sockets>1</sockets><cores>4</cores><threads>1</threads></cpu><memory>8388608</memory></node>"""


def batch(indices: IndexSet, spec: types.FleetSpec = SPEC, fleet: Fleet = FLEET) -> Batch:
    kin = KIN._replace(fleet_uid=fleet.uid)
    return Batch(fleet, kin, spec, Mark(Term(1, 10), Epoch(1, 20)), indices)


def disk_of(batch: Batch, index: int) -> Disk:
    return Disk(f"/dev/zvol/tank/{batch.fleet.dataset_name(index)}")


def foreign_xml(name: str, uuid: str = "5e000000-0000-4000-8000-000000000001") -> str:
    return (
        f"<domain type='test'><name>{name}</name><uuid>{uuid}</uuid><memory>4096</memory>"
        "<os><type>hvm</type></os></domain>"
    )


def expecting(pattern: str, timeout: float) -> types.FleetSpec:
    spec = types.FleetSpec()
    spec.CopyFrom(SPEC)
    spec.readiness.CopyFrom(types.Readiness(console_pattern=pattern, timeout_seconds=timeout))
    return spec


class Host(Protocol):
    """One host under test, which outlives the drivers opened on it."""

    def driver(self) -> Hypervisor: ...

    async def take_name(self, name: str) -> None:
        """Something that is not of KIN takes a domain's name."""

    async def has_taken(self, name: str) -> bool:
        """It is still there, active as it was."""

    def lose(self, index: int) -> None:
        """The domain ends behind the driver's back."""

    def suspend(self, index: int) -> None:
        """Somebody on the host keeps it from running."""

    def resume(self, index: int) -> None:
        """They let it go on."""


@dataclass
class HollowHost:
    only: HollowHypervisor = field(default_factory=lambda: HollowHypervisor(Behaviour.of()))

    def driver(self) -> Hypervisor:
        return self.only

    async def take_name(self, name: str) -> None:
        foreign = batch(IndexSet.of([int(name.rpartition("-")[2])]), fleet=OTHER)
        await gather(self.only.define(foreign, disk_of))
        await gather(self.only.start(foreign))

    async def has_taken(self, name: str) -> bool:
        index = int(name.rpartition("-")[2])
        return any(
            run.kin.fleet_uid == OTHER.uid and index in run.indices and run.phase is Phase.ACTIVE
            for run in await self.only.listing()
        )

    def lose(self, index: int) -> None:
        self.only.lose(FLEET.uid, IndexSet.of([index]))

    def suspend(self, index: int) -> None:
        self.only.stall(FLEET.uid, IndexSet.of([index]), Phase.SUSPENDED, "by somebody")

    def resume(self, index: int) -> None:
        self.only.go_on(FLEET.uid, IndexSet.of([index]))


class Breakable:
    """A connection that several drivers share, and that can be cut like libvirtd's.

    libvirt's test driver keeps its host in the connection: closing it would end the host. It
    takes each kind of callback once, so the host's own passes events on.
    """

    def __init__(self, connection: Connection, listeners: list[Callable[..., None]]) -> None:
        self.whole = connection
        self.listeners = listeners
        self.cut = False
        self.calls_left: int | None = None

    def domainEventRegisterAny(
        self, _domain: None, _kind: int, listener: Callable[..., None], _opaque: object
    ) -> int:
        self.listeners.append(listener)
        return 0

    def domainEventDeregisterAny(self, _callback: int) -> int:
        return 0

    def close(self) -> int:
        return 0

    def isAlive(self) -> int:
        return 0 if self.cut else 1

    def __getattr__(self, name: str) -> object:
        if self.calls_left is not None:
            self.calls_left -= 1
            self.cut |= self.calls_left < 0
        if self.cut:
            raise libvirt_binding.load().libvirtError("the socket is closed")
        return getattr(self.whole, name)


class LibvirtHost:
    def __init__(self, folder: Path) -> None:
        node = folder / "node.xml"
        node.write_text(NODE)
        self.folder = folder
        self.uri = f"test://{node}"
        self.binding = libvirt_binding.load()
        self.connection = self.binding.open(self.uri)
        self.reachable = True
        self.opened: list[Breakable] = []
        self.listeners: list[Callable[..., None]] = []
        self.connection.domainEventRegisterAny(
            None, self.binding.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self.tell, None
        )

    def driver(self, seed_path: SeedPath = no_seeds) -> LibvirtHypervisor:
        return LibvirtHypervisor(
            self.uri,
            seed_path=seed_path,
            console_log=str(self.folder / "guest-{name}.log"),
            driver_log=str(self.folder / "driver.log"),
            connect=self.connect,
            boot_id="boot-1",
        )

    def connect(self, _uri: str) -> Connection:
        if not self.reachable:
            raise self.binding.libvirtError("connection refused")
        self.opened.append(Breakable(self.connection, self.listeners))
        return self.opened[-1]  # type: ignore[return-value]

    def tell(self, *event: object) -> None:
        for listener in self.listeners:
            listener(*event)

    def cut(self) -> None:
        for connection in self.opened:
            connection.cut = True

    def cut_after(self, calls: int) -> None:
        for connection in self.opened:
            connection.calls_left = calls

    def write_console(self, index: int, text: str) -> None:
        with (self.folder / f"guest-spv-{index}.log").open("a") as log:
            log.write(text)

    async def take_name(self, name: str) -> None:
        self.connection.defineXML(foreign_xml(name)).createWithFlags()

    async def has_taken(self, name: str) -> bool:
        return self.connection.lookupByName(name).ID() != -1

    def lose(self, index: int) -> None:
        self.connection.lookupByName(FLEET.domain_name(index)).destroy()

    def suspend(self, index: int) -> None:
        self.connection.lookupByName(FLEET.domain_name(index)).suspend()  # type: ignore[attr-defined]

    def resume(self, index: int) -> None:
        self.connection.lookupByName(FLEET.domain_name(index)).resume()


class XenHost:
    """A dom0 with nothing else of FLEET's name. What SPEC and `disk_of` say must be there: a
    kernel that boots, an initrd, the bridge, and volumes of as many VMs as the tests start."""

    def __init__(self, _folder: Path) -> None:
        self.binding = libvirt_binding.load()
        self.connection = self.binding.open(XEN_URI)
        for domain in self.connection.listAllDomains():
            if domain.name().startswith(("spv-", "other-")):
                if domain.isActive():
                    domain.destroy()
                domain.undefineFlags()

    def driver(self) -> LibvirtHypervisor:
        return LibvirtHypervisor(XEN_URI)

    async def take_name(self, name: str) -> None:
        text = (
            f"<domain type='xen'><name>{name}</name><memory unit='KiB'>4096</memory><os>"
            f"<type arch='x86_64' machine='xenpv'>linux</type><kernel>{SPEC.boot.kernel}</kernel>"
            "</os></domain>"
        )
        self.connection.defineXML(text).createWithFlags()

    async def has_taken(self, name: str) -> bool:
        return self.connection.lookupByName(name).ID() != -1

    def lose(self, index: int) -> None:
        self.connection.lookupByName(FLEET.domain_name(index)).destroy()

    def suspend(self, index: int) -> None:
        self.connection.lookupByName(FLEET.domain_name(index)).suspend()  # type: ignore[attr-defined]

    def resume(self, index: int) -> None:
        self.connection.lookupByName(FLEET.domain_name(index)).resume()


async def gather(results: AsyncIterator[StepResult]) -> tuple[IndexSet, tuple[StepFailure, ...]]:
    """All of an iteration, having seen that no index appears twice."""
    done = EMPTY
    failures: list[StepFailure] = []
    async for result in results:
        assert done.isdisjoint(result.done)
        done |= result.done
        failures += result.failures
    failed = [failure.index for failure in failures]
    assert len(set(failed)) == len(failed)
    assert done.isdisjoint(IndexSet.of(failed))
    return done, tuple(failures)


async def up(driver: Hypervisor, wanted: Batch) -> None:
    for results in (driver.define(wanted, disk_of), driver.start(wanted)):
        found = await gather(results)
        assert found == (wanted.indices, ()), found


HOSTS: dict[str, Callable[[Path], Host]] = {
    "hollow": lambda _folder: HollowHost(),
    "libvirt": LibvirtHost,
}
XEN_URI = os.environ.get("MEGAFLEET_XEN_URI", "")
if XEN_URI:
    HOSTS["xen"] = XenHost
