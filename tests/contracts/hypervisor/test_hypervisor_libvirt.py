"""What only a libvirt can show: definitions read back, consoles, and a connection that is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.boot_elements import UefiFiles
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.model import DomainRun, Phase
from fleet_agent.drivers.libvirt import binding as libvirt_binding
from fleet_agent.drivers.libvirt import host_uefi, hypervisor
from fleet_agent.drivers.libvirt.connection import LibvirtConnection
from fleet_agent.drivers.libvirt.domains.domains import Domains
from fleet_agent.drivers.libvirt.domains.found import HostPaths
from fleet_agent.drivers.libvirt.hypervisor import LibvirtHypervisor, no_seeds
from fleet_agent.drivers.libvirt.readiness import ReadinessDeadlines, ReadyWatch, Verdicts
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.ports.hypervisor import Hypervisor
from tests.contracts.hypervisor.hypervisor_hosts import (
    FLEET,
    KIN,
    SPEC,
    LibvirtHost,
    batch,
    disk_of,
    expecting,
    foreign_xml,
    gather,
    up,
)


@pytest.fixture
def host(tmp_path: Path) -> LibvirtHost:
    return LibvirtHost(tmp_path)


@pytest.fixture
async def driver(host: LibvirtHost) -> AsyncIterator[Hypervisor]:
    opened = host.driver()
    yield opened
    await opened.close()


async def test_definition_is_as_derived(host: LibvirtHost, driver: Hypervisor) -> None:
    await gather(driver.define(batch(IndexSet.of([250])), disk_of))
    domain = host.connection.lookupByName("spv-250")
    xml = domain.XMLDesc()
    assert f"<uuid>{FLEET.domain_uuid(250)}</uuid>" in xml
    assert "<mac address='02:10:07:00:00:fa'/>" in xml
    assert "<cmdline>id=250 mac=02:10:07:00:00:fa</cmdline>" in xml
    assert "<source dev='/dev/zvol/tank/spv-250'/>" in xml


async def test_a_foreign_domain_with_our_uuid_is_a_conflict(
    host: LibvirtHost, driver: Hypervisor
) -> None:
    host.connection.defineXML(foreign_xml("guest", str(FLEET.domain_uuid(0))))
    done, failures = await gather(driver.define(batch(IndexSet.of([0])), disk_of))
    assert (done, failures[0].kind, failures[0].retry) == (EMPTY, "conflict", False)


async def test_a_definition_that_cannot_be_is_refused(driver: Hypervisor) -> None:
    spec = types.FleetSpec()
    spec.CopyFrom(SPEC)
    spec.boot.cmdline = "ready\x07"
    done, failures = await gather(driver.define(batch(IndexSet.of([0]), spec), disk_of))
    assert (done, failures[0].kind, failures[0].retry) == (EMPTY, "bad_spec", False)
    assert await driver.listing() == ()


async def test_what_libvirt_drops_is_named_and_undefined(
    host: LibvirtHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    # libvirt's test driver drops <kernel> for the OS type "linux" without a word.
    define = host.connection.defineXML

    def as_linux(xml: str) -> libvirt_binding.Domain:
        return define(xml.replace("<type>xen</type>", "<type>linux</type>"))

    monkeypatch.setattr(host.connection, "defineXML", as_linux)
    driver = host.driver()
    done, failures = await gather(driver.define(batch(IndexSet.of([0])), disk_of))
    assert (done, failures[0].kind, failures[0].retry) == (EMPTY, "bad_spec", False)
    assert "kernel /boot/tiny was dropped" in failures[0].message
    assert host.connection.listAllDomains() == []
    await driver.close()


@pytest.mark.parametrize(
    "boot",
    [
        types.Boot(firmware=types.FIRMWARE_BIOS),
        types.Boot(firmware=types.FIRMWARE_UEFI),
        types.Boot(loader=types.LOADER_PVGRUB),
    ],
    ids=["bios", "uefi", "pvgrub"],
)
async def test_each_way_to_start_is_read_back_as_it_was_asked_for(
    host: LibvirtHost, driver: Hypervisor, boot: types.Boot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_uefi, "uefi_files", lambda *_: UefiFiles("/code.fd", "/vars.fd"))
    spec = types.FleetSpec()
    spec.CopyFrom(SPEC)
    spec.boot.CopyFrom(boot)
    spec.disk.target = "xvda2" if boot.loader else "xvda"
    spec.more_disks.add(target="hdc", path="/srv/{name}.iso", read_only=True, cdrom=True)
    spec.network.mac_base = "00:16:3E:00:00:00"
    wanted = batch(IndexSet.span(0, 2), spec)
    await up(driver, wanted)
    assert "00:16:3e:00:00:01" in host.connection.lookupByName("spv-1").XMLDesc()
    for results in (driver.define(wanted, disk_of), driver.undefine(wanted)):
        assert await gather(results) == (wanted.indices, ())


async def test_a_host_without_uefi_has_a_reason_of_its_own_until_it_is_installed(
    driver: Hypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = types.FleetSpec()
    spec.CopyFrom(SPEC)
    spec.boot.CopyFrom(types.Boot(firmware=types.FIRMWARE_UEFI))
    wanted = batch(IndexSet.of([0]), spec)
    monkeypatch.setattr(host_uefi, "uefi_files", lambda *_: None)
    done, (failure,) = await gather(driver.define(wanted, disk_of))
    assert (done, failure.kind, failure.retry) == (EMPTY, "firmware_missing", False)
    assert failure.message.startswith("boot.firmware: this host has no UEFI for guests; install")
    monkeypatch.setattr(host_uefi, "uefi_files", lambda *_: UefiFiles("/code.fd", "/vars.fd"))
    assert await gather(driver.define(wanted, disk_of)) == (wanted.indices, ())


async def test_ready_when_the_console_says_so(host: LibvirtHost, driver: Hypervisor) -> None:
    vms = batch(IndexSet.span(0, 2), expecting(r"READY \d+", timeout=60))
    await up(driver, vms)
    host.write_console(0, "booting\r\nREA")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(gather(driver.await_ready(vms)))
        host.write_console(0, "DY 1\r\n")
        host.write_console(1, "READY 2\n")
    assert waiting.result() == (vms.indices, ())
    assert [run.phase for run in await driver.listing()] == [Phase.READY]


async def test_an_earlier_life_makes_nothing_ready(host: LibvirtHost, driver: Hypervisor) -> None:
    vms = batch(IndexSet.of([0]), expecting("READY", timeout=0.2))
    host.write_console(0, "READY\n")
    await up(driver, vms)
    host.write_console(0, "panic: no root\n\x1b[0m\n")
    done, failures = await gather(driver.await_ready(vms))
    assert (done, failures[0].kind) == (EMPTY, "not_ready")
    assert "not ready within 0.2 s" in failures[0].message
    assert "panic: no root" in failures[0].message


async def test_a_life_begun_behind_the_back_is_read_from_its_own_beginning(
    host: LibvirtHost, driver: Hypervisor
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


async def test_a_wait_cut_short_uses_up_its_timeout(host: LibvirtHost, driver: Hypervisor) -> None:
    vms = batch(IndexSet.of([0]), expecting("READY", timeout=30))
    await up(driver, vms)
    paths = HostPaths(str(host.folder / "guest-{name}.log"), host.folder / "none", "boot-1")
    domains = Domains(
        LibvirtConnection(host.uri, host.connect, *[lambda: None] * 2),
        Flavour.TEST,
        paths,
        no_seeds,
    )
    patience = ReadinessDeadlines()
    assert ReadyWatch(domains, vms, patience).poll(now=100.0) == Verdicts()
    later = ReadyWatch(domains, vms, patience)
    assert later.poll(now=129.9) == Verdicts()
    assert [one.kind for one in later.poll(now=130.0).failures] == ["not_ready"]
    # After a verdict, whoever waits again has the whole timeout.
    assert ReadyWatch(domains, vms, patience).poll(now=131.0) == Verdicts()


async def test_a_pattern_that_is_none_is_refused(driver: Hypervisor) -> None:
    vms = batch(IndexSet.of([0]), expecting("(", timeout=30))
    await up(driver, vms)
    done, failures = await gather(driver.await_ready(vms))
    assert (done, failures[0].kind, failures[0].retry) == (EMPTY, "bad_spec", False)


async def test_death_ends_the_wait_for_a_console(host: LibvirtHost, driver: Hypervisor) -> None:
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
    host: LibvirtHost, driver: Hypervisor
) -> None:
    vms = batch(IndexSet.of([0]))
    await up(driver, vms)
    await gather(driver.await_ready(vms))
    rebooted = LibvirtHypervisor(host.uri, connect=host.connect, boot_id="boot-2")
    assert [run.phase for run in await rebooted.listing()] == [Phase.ACTIVE]
    await rebooted.close()


async def test_a_lost_libvirt_is_the_drivers_error_until_it_is_back(
    host: LibvirtHost, driver: Hypervisor
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


async def test_changes_are_looked_for_again_and_again_in_a_libvirt_that_is_back(
    host: LibvirtHost, driver: Hypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hypervisor, "LOOKS_AT_A_NEW_DAEMON", (0.2, 0.4))
    await driver.listing()
    changes = aiter(driver.changes())
    first = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)  # it listens
    host.cut()
    await driver.listing()
    async with asyncio.timeout(30):
        await first
        for _ in range(2):
            await anext(changes)


async def test_a_libvirt_lost_in_the_middle_of_a_batch(
    host: LibvirtHost, driver: Hypervisor
) -> None:
    vms = batch(IndexSet.span(0, 20))
    await driver.listing()
    host.cut_after(calls=20)
    with pytest.raises(DriverError, match="was lost"):
        await gather(driver.define(vms, disk_of))
    assert await gather(driver.define(vms, disk_of)) == (vms.indices, ())
    assert await driver.listing() == (DomainRun(KIN, vms.indices, Phase.DEFINED),)


async def test_a_libvirt_that_never_was(tmp_path: Path) -> None:
    driver = LibvirtHypervisor(f"test://{tmp_path}/none.xml")
    with pytest.raises(DriverError, match="is libvirtd running"):
        await driver.listing()
    await driver.close()


async def test_a_listing_begun_early_is_told_once(host: LibvirtHost) -> None:
    driver = host.driver()
    assert isinstance(driver, LibvirtHypervisor)
    driver.begin_listing()
    assert await driver.listing() == ()
    await gather(driver.define(batch(IndexSet.span(0, 2)), disk_of))
    assert [len(run.indices) for run in await driver.listing()] == [2]
    await driver.close()


async def test_what_is_off_and_defined_otherwise_is_defined_anew_before_it_starts(
    host: LibvirtHost, driver: Hypervisor
) -> None:
    vms = batch(IndexSet.of([0]))
    assert await gather(driver.define(vms, disk_of)) == (vms.indices, ())
    domain = host.connection.lookupByName("spv-0")
    asked = domain.XMLDesc(host.binding.VIR_DOMAIN_XML_INACTIVE)
    host.connection.defineXML(asked.replace("id=0 ", "as an older setting has it "))
    assert await gather(driver.start(vms)) == (vms.indices, ())
    assert "id=0 " in domain.XMLDesc()
    (run,) = await driver.listing()
    assert (run.phase, run.indices) == (Phase.ACTIVE, vms.indices)


async def test_what_runs_keeps_its_definition(host: LibvirtHost, driver: Hypervisor) -> None:
    vms = batch(IndexSet.of([0]))
    await up(driver, vms)
    before = host.connection.lookupByName("spv-0").XMLDesc()
    assert await gather(driver.start(vms)) == (vms.indices, ())
    assert host.connection.lookupByName("spv-0").XMLDesc() == before
