"""What every Hypervisor does alike: hollow hosts, and libvirt on isolated test:// hosts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from fleet.identity import Fleet
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain_xml import Flavour
from fleet_agent.core.model import Batch, DomainRun, Kin, Mark, Phase, StepFailure, StepResult
from fleet_agent.drivers import libvirt_binding
from fleet_agent.drivers.hollow import Behaviour, HollowHypervisor
from fleet_agent.drivers.libvirt import LibvirtHypervisor
from fleet_agent.drivers.libvirt_binding import Connection
from fleet_agent.drivers.libvirt_domains import Domains, HostPaths
from fleet_agent.drivers.libvirt_link import Link
from fleet_agent.drivers.libvirt_ready import Patience, ReadyWatch, Verdicts
from fleet_agent.drivers.ports import DriverError, Hypervisor

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
    return Batch(fleet, kin, spec, Mark((1, 10), (1, 20)), indices)


def disk_path(fleet: Fleet, index: int) -> str:
    return f"/dev/zvol/tank/{fleet.dataset_name(index)}"


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


@dataclass
class HollowHost:
    only: HollowHypervisor = field(default_factory=lambda: HollowHypervisor(Behaviour.of()))

    def driver(self) -> Hypervisor:
        return self.only

    async def take_name(self, name: str) -> None:
        foreign = batch(IndexSet.of([int(name.rpartition("-")[2])]), fleet=OTHER)
        await gather(self.only.define(foreign, disk_path))
        await gather(self.only.start(foreign))

    async def has_taken(self, name: str) -> bool:
        index = int(name.rpartition("-")[2])
        return any(
            run.kin.fleet_uid == OTHER.uid and index in run.indices and run.phase is Phase.ACTIVE
            for run in await self.only.listing()
        )

    def lose(self, index: int) -> None:
        self.only.lose(FLEET.uid, IndexSet.of([index]))


class Breakable:
    """A connection that several drivers share, and that can be cut like libvirtd's.

    libvirt's test driver keeps its host in the connection: closing it would end the host. It
    takes each kind of callback once, so the host's own passes events on.
    """

    def __init__(self, connection: Connection, listeners: list[Callable[..., None]]) -> None:
        self.whole = connection
        self.listeners = listeners
        self.cut = False

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

    def driver(self) -> LibvirtHypervisor:
        return LibvirtHypervisor(
            self.uri,
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

    def write_console(self, index: int, text: str) -> None:
        with (self.folder / f"guest-spv-{index}.log").open("a") as log:
            log.write(text)

    async def take_name(self, name: str) -> None:
        self.connection.defineXML(foreign_xml(name)).createWithFlags()

    async def has_taken(self, name: str) -> bool:
        return self.connection.lookupByName(name).ID() != -1

    def lose(self, index: int) -> None:
        self.connection.lookupByName(FLEET.domain_name(index)).destroy()


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
    for results in (driver.define(wanted, disk_path), driver.start(wanted)):
        assert await gather(results) == (wanted.indices, ())


HOSTS: dict[str, Callable[[Path], Host]] = {
    "hollow": lambda _folder: HollowHost(),
    "libvirt": LibvirtHost,
}


@pytest.fixture(params=sorted(HOSTS))
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    return HOSTS[request.param](tmp_path)


@pytest.fixture
async def driver(host: Host) -> AsyncIterator[Hypervisor]:
    opened = host.driver()
    yield opened
    await opened.close()


class TestHypervisor:
    """The contract."""

    async def test_each_step_twice_is_done_twice(self, driver: Hypervisor) -> None:
        vms = batch(IndexSet.span(0, 5) | IndexSet.of([250]))
        steps: list[Callable[[Batch], AsyncIterator[StepResult]]] = [
            partial(driver.define, disk_path=disk_path),
            driver.start,
            driver.await_ready,
            driver.stop,
            driver.undefine,
        ]
        for step in steps:
            assert await gather(step(vms)) == (vms.indices, ())
            listed = await driver.listing()
            assert await gather(step(vms)) == (vms.indices, ())
            assert await driver.listing() == listed

    async def test_phases_as_listed(self, driver: Hypervisor) -> None:
        assert await driver.listing() == ()
        vms = batch(IndexSet.span(0, 4))
        await gather(driver.define(vms, disk_path))
        await gather(driver.start(replace(vms, indices=IndexSet.span(1, 4))))
        await gather(driver.await_ready(replace(vms, indices=IndexSet.span(3, 4))))
        assert await driver.listing() == (
            DomainRun(KIN, IndexSet.span(0, 1), Phase.DEFINED),
            DomainRun(KIN, IndexSet.span(1, 3), Phase.ACTIVE),
            DomainRun(KIN, IndexSet.span(3, 4), Phase.READY),
        )

    async def test_fleets_births_and_generations_are_told_apart(self, driver: Hypervisor) -> None:
        neighbour = replace(OTHER, name="other")
        younger = replace(batch(IndexSet.of([7])), kin=KIN._replace(birth=99))
        for vms in (
            batch(IndexSet.span(0, 2)),
            batch(IndexSet.span(0, 3), fleet=neighbour),
            younger,
        ):
            await gather(driver.define(vms, disk_path))
        kins = [
            (run.kin.fleet_uid, run.kin.birth, len(run.indices)) for run in await driver.listing()
        ]
        assert kins == [(OTHER.uid, 41, 3), (FLEET.uid, 41, 2), (FLEET.uid, 99, 1)]

    async def test_a_taken_name_is_a_conflict_and_stays_untouched(
        self, host: Host, driver: Hypervisor
    ) -> None:
        await host.take_name("spv-1")
        vms = batch(IndexSet.span(0, 3))
        done, failures = await gather(driver.define(vms, disk_path))
        assert done == IndexSet.of([0, 2])
        assert [(one.index, one.kind, one.retry) for one in failures] == [(1, "conflict", False)]
        assert "spv-1" in failures[0].message
        done, failures = await gather(driver.start(vms))
        assert done == IndexSet.of([0, 2])
        assert [one.index for one in failures] == [1]
        for removal in (driver.stop, driver.undefine):
            assert await gather(removal(vms)) == (vms.indices, ())
        assert await host.has_taken("spv-1")

    async def test_what_is_not_defined_does_not_start(self, driver: Hypervisor) -> None:
        done, failures = await gather(driver.start(batch(IndexSet.of([4]))))
        assert (done, failures[0].index, failures[0].kind) == (EMPTY, 4, "not_defined")

    async def test_what_has_ended_is_not_ready(self, host: Host, driver: Hypervisor) -> None:
        vms = batch(IndexSet.span(0, 2))
        await up(driver, vms)
        host.lose(1)
        done, failures = await gather(driver.await_ready(vms))
        assert done == IndexSet.of([0])
        assert [(one.index, one.kind) for one in failures] == [(1, "died")]

    async def test_stopped_and_started_again_is_not_ready_yet(self, driver: Hypervisor) -> None:
        vms = batch(IndexSet.of([0]))
        await up(driver, vms)
        await gather(driver.await_ready(vms))
        await gather(driver.stop(vms))
        assert await driver.listing() == (DomainRun(KIN, vms.indices, Phase.DEFINED),)
        await gather(driver.start(vms))
        assert await driver.listing() == (DomainRun(KIN, vms.indices, Phase.ACTIVE),)

    async def test_readiness_is_remembered_by_the_next_driver(self, host: Host) -> None:
        first = host.driver()
        vms = batch(IndexSet.span(0, 3))
        await up(first, vms)
        await gather(first.await_ready(replace(vms, indices=IndexSet.span(0, 2))))
        before = await first.listing()
        await first.close()
        second = host.driver()
        assert await second.listing() == before
        assert [(run.phase, run.indices) for run in before] == [
            (Phase.ACTIVE, IndexSet.of([2])),
            (Phase.READY, IndexSet.span(0, 2)),
        ]
        await second.close()

    async def test_cancelled_midway_then_repeated(self, driver: Hypervisor) -> None:
        vms = batch(IndexSet.span(0, 40))
        define = partial(driver.define, disk_path=disk_path)
        steps: list[Callable[[Batch], AsyncIterator[StepResult]]] = [define, driver.start]
        for step in steps:
            async with asyncio.TaskGroup() as group:
                begun = group.create_task(gather(step(vms)))
                await asyncio.sleep(0)  # let it begin
                begun.cancel()
            assert await gather(step(vms)) == (vms.indices, ())
        assert await driver.listing() == (DomainRun(KIN, vms.indices, Phase.ACTIVE),)

    async def test_undefine_takes_active_ones_too(self, driver: Hypervisor) -> None:
        vms = batch(IndexSet.span(0, 6))
        await up(driver, vms)
        part = replace(vms, indices=IndexSet.span(2, 4))
        assert await gather(driver.undefine(part)) == (part.indices, ())
        left = IndexSet.of([0, 1, 4, 5])
        assert await driver.listing() == (DomainRun(KIN, left, Phase.ACTIVE),)

    async def test_a_change_behind_the_back_is_heard(self, host: Host, driver: Hypervisor) -> None:
        await up(driver, batch(IndexSet.of([0])))
        async with asyncio.timeout(10):
            changes = driver.changes()
            heard = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0)  # let it listen
            host.lose(0)
            await heard
            await changes.aclose()  # type: ignore[attr-defined]

    async def test_its_own_acts_are_no_news(self, host: Host, driver: Hypervisor) -> None:
        heard = 0
        listening, lost = asyncio.Event(), asyncio.Event()

        async def listen() -> None:
            nonlocal heard
            changes = driver.changes()
            listening.set()
            async for _ in changes:
                heard += 1
                lost.set()

        listener = asyncio.create_task(listen())
        await listening.wait()
        vms = batch(IndexSet.span(0, 5))
        await up(driver, vms)
        for step in (driver.await_ready, driver.stop, driver.start, driver.undefine):
            await gather(step(vms))
        await up(driver, vms)
        # Events keep their order: when this one is heard, so would have been those before it.
        host.lose(0)
        async with asyncio.timeout(10):
            await lost.wait()
        assert heard == 1
        listener.cancel()
        await asyncio.wait([listener])

    async def test_facts_name_the_hypervisor(self, driver: Hypervisor) -> None:
        facts = await driver.facts()
        assert facts.description
        assert facts.memory_bytes > 0
        assert facts.max_guests == 250


class TestLibvirt:
    """What only a libvirt can show."""

    @pytest.fixture
    def host(self, tmp_path: Path) -> LibvirtHost:
        return LibvirtHost(tmp_path)

    async def test_definition_is_as_derived(self, host: LibvirtHost, driver: Hypervisor) -> None:
        await gather(driver.define(batch(IndexSet.of([250])), disk_path))
        domain = host.connection.lookupByName("spv-250")
        xml = domain.XMLDesc()
        assert f"<uuid>{FLEET.domain_uuid(250)}</uuid>" in xml
        assert "<mac address='02:10:07:00:00:fa'/>" in xml
        assert "<cmdline>id=250 mac=02:10:07:00:00:fa</cmdline>" in xml
        assert "<source dev='/dev/zvol/tank/spv-250'/>" in xml

    async def test_a_foreign_domain_with_our_uuid_is_a_conflict(
        self, host: LibvirtHost, driver: Hypervisor
    ) -> None:
        host.connection.defineXML(foreign_xml("guest", str(FLEET.domain_uuid(0))))
        done, failures = await gather(driver.define(batch(IndexSet.of([0])), disk_path))
        assert (done, failures[0].kind, failures[0].retry) == (EMPTY, "conflict", False)

    async def test_a_definition_that_cannot_be_is_refused(self, driver: Hypervisor) -> None:
        spec = types.FleetSpec()
        spec.CopyFrom(SPEC)
        spec.boot.cmdline = "ready\x07"
        done, failures = await gather(driver.define(batch(IndexSet.of([0]), spec), disk_path))
        assert (done, failures[0].kind, failures[0].retry) == (EMPTY, "bad_spec", False)
        assert await driver.listing() == ()

    async def test_what_libvirt_drops_is_named_and_undefined(
        self, host: LibvirtHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # libvirt's test driver drops <kernel> for the OS type "linux" without a word.
        define = host.connection.defineXML

        def as_linux(xml: str) -> libvirt_binding.Domain:
            return define(xml.replace("<type>xen</type>", "<type>linux</type>"))

        monkeypatch.setattr(host.connection, "defineXML", as_linux)
        driver = host.driver()
        done, failures = await gather(driver.define(batch(IndexSet.of([0])), disk_path))
        assert (done, failures[0].kind, failures[0].retry) == (EMPTY, "bad_spec", False)
        assert "kernel /boot/tiny was dropped" in failures[0].message
        assert host.connection.listAllDomains() == []
        await driver.close()

    async def test_ready_when_the_console_says_so(
        self, host: LibvirtHost, driver: Hypervisor
    ) -> None:
        vms = batch(IndexSet.span(0, 2), expecting(r"READY \d+", timeout=60))
        await up(driver, vms)
        host.write_console(0, "booting\r\nREA")
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(gather(driver.await_ready(vms)))
            host.write_console(0, "DY 1\r\n")
            host.write_console(1, "READY 2\n")
        assert waiting.result() == (vms.indices, ())
        assert [run.phase for run in await driver.listing()] == [Phase.READY]

    async def test_an_earlier_life_makes_nothing_ready(
        self, host: LibvirtHost, driver: Hypervisor
    ) -> None:
        vms = batch(IndexSet.of([0]), expecting("READY", timeout=0.2))
        host.write_console(0, "READY\n")
        await up(driver, vms)
        host.write_console(0, "panic: no root\n\x1b[0m\n")
        done, failures = await gather(driver.await_ready(vms))
        assert (done, failures[0].kind) == (EMPTY, "not_ready")
        assert "not ready within 0.2 s" in failures[0].message
        assert "panic: no root" in failures[0].message

    async def test_a_life_begun_behind_the_back_is_read_from_its_own_beginning(
        self, host: LibvirtHost, driver: Hypervisor
    ) -> None:
        vms = batch(IndexSet.of([0]), expecting("READY", timeout=0.2))
        await up(driver, vms)
        host.write_console(0, "READY\n")
        assert await gather(driver.await_ready(vms)) == (vms.indices, ())
        host.lose(0)
        host.connection.lookupByName("spv-0").createWithFlags()
        assert [run.phase for run in await driver.listing()] == [Phase.ACTIVE]
        done, failures = await gather(driver.await_ready(vms))
        assert (done, failures[0].kind) == (EMPTY, "not_ready")
        host.write_console(0, "READY\n")
        assert await gather(driver.await_ready(vms)) == (vms.indices, ())

    async def test_a_wait_cut_short_uses_up_its_timeout(
        self, host: LibvirtHost, driver: Hypervisor
    ) -> None:
        vms = batch(IndexSet.of([0]), expecting("READY", timeout=30))
        await up(driver, vms)
        paths = HostPaths(str(host.folder / "guest-{name}.log"), host.folder / "none", "boot-1")
        domains = Domains(Link(host.uri, host.connect, lambda: None), Flavour.TEST, paths)
        patience = Patience()
        assert ReadyWatch(domains, vms, patience).poll(now=100.0) == Verdicts()
        later = ReadyWatch(domains, vms, patience)
        assert later.poll(now=129.9) == Verdicts()
        assert [one.kind for one in later.poll(now=130.0).failures] == ["not_ready"]
        # After a verdict, whoever waits again has the whole timeout.
        assert ReadyWatch(domains, vms, patience).poll(now=131.0) == Verdicts()

    async def test_a_pattern_that_is_none_is_refused(self, driver: Hypervisor) -> None:
        vms = batch(IndexSet.of([0]), expecting("(", timeout=30))
        await up(driver, vms)
        done, failures = await gather(driver.await_ready(vms))
        assert (done, failures[0].kind, failures[0].retry) == (EMPTY, "bad_spec", False)

    async def test_death_ends_the_wait_for_a_console(
        self, host: LibvirtHost, driver: Hypervisor
    ) -> None:
        vms = batch(IndexSet.of([0]), expecting("READY", timeout=60))
        await up(driver, vms)
        host.write_console(0, "Kernel panic\n")
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(gather(driver.await_ready(vms)))
            host.lose(0)
        done, failures = waiting.result()
        assert (done, failures[0].kind) == (EMPTY, "died")
        assert "Kernel panic" in failures[0].message

    async def test_readiness_of_another_boot_of_the_host_does_not_count(
        self, host: LibvirtHost, driver: Hypervisor
    ) -> None:
        vms = batch(IndexSet.of([0]))
        await up(driver, vms)
        await gather(driver.await_ready(vms))
        rebooted = LibvirtHypervisor(host.uri, connect=host.connect, boot_id="boot-2")
        assert [run.phase for run in await rebooted.listing()] == [Phase.ACTIVE]
        await rebooted.close()

    async def test_a_lost_libvirt_is_the_drivers_error_until_it_is_back(
        self, host: LibvirtHost, driver: Hypervisor
    ) -> None:
        vms = batch(IndexSet.span(0, 3))
        await up(driver, vms)
        host.cut()
        host.reachable = False
        for call in (driver.listing(), driver.facts(), gather(driver.start(vms))):
            with pytest.raises(DriverError, match="cannot reach libvirt at test:"):
                await call
        host.reachable = True
        assert await driver.listing() == (DomainRun(KIN, vms.indices, Phase.ACTIVE),)

    async def test_a_libvirt_that_never_was(self, tmp_path: Path) -> None:
        driver = LibvirtHypervisor(f"test://{tmp_path}/none.xml")
        with pytest.raises(DriverError, match="is libvirtd running"):
            await driver.listing()
        await driver.close()
