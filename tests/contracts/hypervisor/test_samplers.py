"""What all Samplers do alike, and what libvirt's takes from Xen's backends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from fleet.ranges import IndexSet
from fleet_agent.core.top import DomainCounters
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.sampler import MEMORY_BYTES, HollowSampler
from fleet_agent.drivers.libvirt.binding import Connection
from fleet_agent.drivers.libvirt.marks import OurDomains
from fleet_agent.drivers.libvirt.sampler import LibvirtSampler
from fleet_agent.drivers.libvirt.xen_counters import XenPaths, block_bytes, network_bytes
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.ports.hypervisor import Hypervisor, Sampler
from tests.contracts.hypervisor.hypervisor_hosts import (
    FLEET,
    HollowHost,
    LibvirtHost,
    batch,
    disk_of,
    gather,
    up,
)


class SampledHost(Protocol):
    driver: Hypervisor
    sampler: Sampler

    def lose(self, index: int) -> None: ...


class Hollow:
    def __init__(self, _folder: Path) -> None:
        host = HollowHost()
        self.lose = host.lose
        self.driver: Hypervisor = host.only
        self.sampler: Sampler = HollowSampler(host.only, Behaviour.of())


class Libvirt:
    def __init__(self, folder: Path) -> None:
        self.host = LibvirtHost(folder)
        self.lose = self.host.lose
        driver = self.host.driver()
        self.driver: Hypervisor = driver
        self.xen = XenPaths(folder / "devices", folder / "dev")
        self.link = driver.link
        self.sampler: Sampler = LibvirtSampler(driver.link, OurDomains(driver.link), self.xen)


HOSTS: dict[str, Callable[[Path], SampledHost]] = {"hollow": Hollow, "libvirt": Libvirt}


@pytest.fixture(params=sorted(HOSTS))
async def host(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SampledHost]:
    made = HOSTS[request.param](tmp_path)
    yield made
    await made.sampler.close()
    await made.driver.close()


async def domains(host: SampledHost) -> dict[str, DomainCounters]:
    _, found = await host.sampler.counters()
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


class TestSampler:
    """The contract."""

    async def test_active_domains_of_ours_are_counted(self, host: SampledHost) -> None:
        assert await domains(host) == {}
        await up(host.driver, batch(IndexSet.of([0, 1, 250])))
        await gather(host.driver.define(batch(IndexSet.of([7])), disk_of))
        found = await domains(host)
        assert sorted(found) == ["spv-0", "spv-1", "spv-250"]
        one = found["spv-250"]
        assert (one.fleet_uid, one.index, one.vcpus) == (FLEET.uid, 250, 1)
        assert one.memory_bytes >= 4 << 20
        assert one.state in ("running", "blocked")

    async def test_counters_do_not_fall(self, host: SampledHost) -> None:
        await up(host.driver, batch(IndexSet.span(0, 3)))
        before, after = await domains(host), await domains(host)
        for name, one in after.items():
            assert one.life == before[name].life
            assert one.cpu_ns >= before[name].cpu_ns

    async def test_what_has_ended_is_left_out(self, host: SampledHost) -> None:
        await up(host.driver, batch(IndexSet.span(0, 3)))
        await domains(host)
        host.lose(1)
        assert sorted(await domains(host)) == ["spv-0", "spv-2"]

    async def test_the_host_is_told(self, host: SampledHost) -> None:
        facts, _ = await host.sampler.counters()
        assert facts.cpus > 0
        assert facts.memory_bytes >= facts.memory_free_bytes >= 0


async def test_hollow_numbers_follow_from_index_and_time() -> None:
    now = [1000.0]
    behaviour = Behaviour.of()
    behaviour.clock = lambda: now[0]
    hollow = HollowHost()
    sampler = HollowSampler(hollow.only, behaviour, 10)
    await up(hollow.only, batch(IndexSet.span(0, 8)))
    first, again = await sampler.counters(), await sampler.counters()
    assert first == again
    now[0] += 10
    host, later = await sampler.counters()
    shares = [(b.cpu_ns - a.cpu_ns) / 10e9 for a, b in zip(first[1], later, strict=True)]
    assert all(0 <= share <= 1 for share in shares) and len(set(shares)) == 8
    assert host.memory_free_bytes == host.memory_bytes - 8 * MEMORY_BYTES


# ---- libvirt alone -------------------------------------------------------------------------


@pytest.fixture
async def libvirt(tmp_path: Path) -> AsyncIterator[Libvirt]:
    made = Libvirt(tmp_path)
    await up(made.driver, batch(IndexSet.span(0, 2)))
    yield made
    await made.sampler.close()
    await made.driver.close()


def as_xen(libvirt: Libvirt, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection says that it is libxl's, which has no statistics of many domains."""
    real: Any = libvirt.host.connection

    class Xen:
        def __getattr__(self, name: str) -> object:
            if name == "getAllDomainStats":
                raise AssertionError("libxl's driver has none")
            return getattr(real, name)

        def getType(self) -> str:
            return "Xen"

    monkeypatch.setattr(libvirt.host, "connection", Xen())
    libvirt.host.cut()  # to be opened anew


def vbd(devices: Path, name: str, read: int, written: int) -> None:
    statistics = devices / name / "statistics"
    statistics.mkdir(parents=True)
    (statistics / "rd_sect").write_text(f"{read}\n")
    (statistics / "wr_sect").write_text(f"{written}\n")


NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs
    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0
vif{id}.0: 111 1 0 0 0 0 0 0 222 2 0 0 0 0 0 0
vif{id}.1:1000 1 0 0 0 0 0 0 2000 2 0 0 0 0 0 0
vif{id}.1-emu: 5 1 0 0 0 0 0 0 5 2 0 0 0 0 0 0
vif77.0: 3 1 0 0 0 0 0 0 4 2 0 0 0 0 0 0
"""


async def test_xens_disks_and_interfaces_come_from_the_backends(
    libvirt: Libvirt, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = libvirt.host.connection.lookupByName("spv-1").ID()
    vbd(libvirt.xen.backends, f"vbd-{life}-51712", 8, 16)
    vbd(libvirt.xen.backends, f"vbd-{life}-51728", 2, 4)
    vbd(libvirt.xen.backends, "vbd-77-51712", 1, 1)
    (libvirt.xen.backends / f"vif-{life}-0").mkdir()
    libvirt.xen.interfaces.write_text(NET_DEV.replace("{id}", str(life)))
    as_xen(libvirt, monkeypatch)
    found = {one.name: one for one in (await libvirt.sampler.counters())[1]}
    one = found["spv-1"]
    assert (one.block_read_bytes, one.block_write_bytes) == (10 * 512, 20 * 512)
    # What the vif in the dom0 has sent, the guest has received.
    assert (one.net_rx_bytes, one.net_tx_bytes) == (2222, 1111)
    other = found["spv-0"]
    assert (other.block_read_bytes, other.net_rx_bytes) == (0, 0)
    assert one.life == life and one.state == "running"


def test_without_backends_there_is_nothing(tmp_path: Path) -> None:
    assert block_bytes(tmp_path / "none") == {}
    assert network_bytes(tmp_path / "none") == {}


def test_a_disk_that_goes_meanwhile_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / "vbd-3-51712").mkdir()
    assert block_bytes(tmp_path) == {3: (0, 0)}


async def test_statistics_of_all_domains_in_one_call(
    libvirt: Libvirt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As QEMU's driver tells them: the names are of virConnectGetAllDomainStats."""
    real: Any = libvirt.host.connection
    domain = real.lookupByName("spv-0")
    told = {
        "state.state": 1, "cpu.time": 5_000, "balloon.current": 4096, "vcpu.current": 2,
        "net.count": 2, "net.0.rx.bytes": 1, "net.1.rx.bytes": 2, "net.0.tx.bytes": 3,
        "block.count": 1, "block.0.rd.bytes": 7, "block.0.wr.bytes": 9,
    }  # fmt: skip

    class Qemu:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def getAllDomainStats(self, _stats: int, _flags: int) -> list[Any]:
            return [(domain, told)]

    monkeypatch.setattr(libvirt.host, "connection", Qemu())
    libvirt.host.cut()
    found = {one.name: one for one in (await libvirt.sampler.counters())[1]}
    assert found["spv-0"] == DomainCounters(
        FLEET.uid, 0, "spv-0", "running", domain.ID(), 5_000, 4096 * 1024, 2, 3, 3, 7, 9
    )
    assert found["spv-1"].memory_bytes == 4 << 20  # which was not told, and was asked for


async def test_a_libvirt_that_is_gone_is_an_error(libvirt: Libvirt) -> None:
    libvirt.host.cut()
    libvirt.host.reachable = False
    with pytest.raises(DriverError):
        await libvirt.sampler.counters()
    libvirt.host.reachable = True
    assert len((await libvirt.sampler.counters())[1]) == 2


async def test_marks_are_not_read_at_every_look(
    libvirt: Libvirt, monkeypatch: pytest.MonkeyPatch
) -> None:
    await libvirt.sampler.counters()
    read: list[str] = []
    real: Any = libvirt.host.connection

    class Watched:
        def __init__(self, domain: Any) -> None:
            self._domain = domain

        def __getattr__(self, name: str) -> object:
            if name == "XMLDesc":
                read.append(self._domain.name())
            return getattr(self._domain, name)

    class Watching:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def listAllDomains(self, flags: int = 0) -> list[Any]:
            return [Watched(one) for one in real.listAllDomains(flags)]

    watching: Connection = Watching()  # type: ignore[assignment]
    monkeypatch.setattr(libvirt.host, "connection", watching)
    libvirt.host.cut()
    assert len((await libvirt.sampler.counters())[1]) == 2
    assert read == []
