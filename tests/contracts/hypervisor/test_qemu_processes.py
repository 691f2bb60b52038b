"""What only the driver of QEMU's processes does: troubles of processes, told by name and mended."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.model import Batch, Phase
from fleet_agent.drivers.by_start.hypervisor import HypervisorByStart
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.qemu import host_memory, monitor, vms
from fleet_agent.drivers.qemu.folders import Definition, Life
from fleet_agent.drivers.qemu.hypervisor import QemuHypervisor
from fleet_agent.drivers.qemu.processes import scope
from tests.contracts.hypervisor.hypervisor_hosts import (
    FLEET,
    KIN,
    SPEC,
    batch,
    disk_of,
    expecting,
    gather,
    up,
)
from tests.contracts.hypervisor.qemu_hosts import BARE, MISSING, QemuHost

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "it is installed")
ONE = IndexSet.of([0])


@pytest.fixture
def host(tmp_path: Path) -> Iterator[QemuHost]:
    made = QemuHost(tmp_path)
    yield made
    made.end_all()


@pytest.fixture
async def driver(host: QemuHost) -> AsyncIterator[QemuHypervisor]:
    opened = host.driver()
    yield opened
    await opened.close()


def cloned(indices: IndexSet) -> Batch:
    spec = types.FleetSpec()
    spec.CopyFrom(SPEC)
    spec.start = types.START_CLONE
    spec.disk.target = "vda"
    return batch(indices, spec)


async def test_one_that_answers_nothing_is_named_and_started_anew(
    host: QemuHost, driver: QemuHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = batch(ONE)
    await up(driver, wanted)
    before = host.pid(0)
    monkeypatch.setattr(monitor, "ANSWER_SECONDS", 0.3)
    os.kill(before or 0, signal.SIGSTOP)
    (run,) = await driver.listing()
    assert run.phase is Phase.HALTED and "does not answer" in run.why
    monkeypatch.undo()
    assert await gather(driver.start(wanted)) == (ONE, ())
    (run,) = await driver.listing()
    assert run.phase is Phase.ACTIVE and host.pid(0) not in (None, before)


async def test_one_whose_agent_ended_before_it_was_restored_is_started_anew(
    host: QemuHost, driver: QemuHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = batch(ONE)
    await up(driver, wanted)
    await driver.listing()
    monkeypatch.setattr(
        vms.Vms, "_stands", lambda self, vm, stands: setattr(vm, "stands", "inmigrate")
    )
    (run,) = await driver.listing()
    assert run.phase is Phase.HALTED
    monkeypatch.undo()
    before = host.pid(0)
    assert await gather(driver.start(wanted)) == (ONE, ())
    assert host.pid(0) not in (None, before)


async def test_an_identity_that_nobody_takes_is_named(driver: QemuHypervisor) -> None:
    wanted = batch(ONE, expecting("never said", 0.2))
    await up(driver, wanted)
    done, (failure,) = await gather(driver.await_ready(wanted))
    assert not done and failure.kind == "not_ready"
    assert "did not take its identity" in failure.message


async def test_none_is_started_into_the_memory_that_is_to_stay_free(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 8388608 kB\nMemAvailable: 500000 kB\n")
    short = QemuHypervisor(
        tmp_path / "clones",
        tmp_path / "templates",
        emulation=BARE,
        shortage=lambda needed: host_memory.shortage(needed, meminfo),
    )
    wanted = batch(ONE)
    await gather(short.define(wanted, disk_of))
    done, (failure,) = await gather(short.start(wanted))
    assert not done and failure.kind == "no_memory" and "stay free" in failure.message
    await short.close()


async def test_memory_that_grows_short_in_the_midst_stops_further_starts_and_nothing_else(
    host: QemuHost,
) -> None:
    """Two start; then something else takes the memory, and gives it back."""
    left = [2]

    def shortage(needed: int) -> str:
        left[0] -= 1
        return "" if left[0] >= 0 else "1,000 MiB of memory are left, of which 1,000 MiB stay free"

    driver = QemuHypervisor(
        host.root, host.templates, boot_id="boot-1", emulation=BARE, shortage=shortage
    )
    wanted = batch(IndexSet.span(0, 4))
    await gather(driver.define(wanted, disk_of))
    done, failures = await gather(driver.start(wanted))
    assert len(done) == 2
    assert {one.kind for one in failures} == {"no_memory"} and all(one.retry for one in failures)
    running = {index: host.pid(index) for index in done}
    left[0] = 2
    assert await gather(driver.start(wanted)) == (wanted.indices, ())
    assert running == {index: host.pid(index) for index in done}
    (run,) = await driver.listing()
    assert (run.indices, run.phase) == (wanted.indices, Phase.ACTIVE)
    await driver.close()


async def test_what_cannot_be_cloned_boots_and_says_why(
    host: QemuHost, driver: QemuHypervisor
) -> None:
    """Here the kernel is missing that a template would boot."""
    wanted = cloned(IndexSet.span(0, 2))
    await up(driver, wanted)
    life = driver.vms.folders.read(FLEET.domain_name(1), Life)
    assert life is not None and life.way == "boot" and "No such file" in life.why
    (run,) = await driver.listing()
    assert (run.indices, run.fallback) == (wanted.indices, life.why)
    await gather(driver.stop(wanted))
    (run,) = await driver.listing()
    assert run.fallback == "", "of what runs alone"


async def test_half_a_folder_is_none_and_one_that_says_nothing_is_left_alone(
    host: QemuHost, driver: QemuHypervisor
) -> None:
    await up(driver, batch(IndexSet.span(0, 2)))
    await driver.close()
    (host.root / ".spv-7").mkdir()
    (host.root / FLEET.domain_name(1) / "definition.json").write_text("{")
    anew = host.driver()
    (run,) = await anew.listing()
    assert (run.indices, run.phase) == (ONE, Phase.ACTIVE)
    assert host.pid(1) is not None and not (host.root / ".spv-7").exists()
    await anew.close()


async def test_a_definition_says_whose_a_vm_is(driver: QemuHypervisor) -> None:
    await gather(driver.define(batch(ONE), disk_of))
    found = driver.vms.folders.read(FLEET.domain_name(0), Definition)
    assert found is not None and (found.marked.kin, found.index) == (KIN, 0)
    assert found.own_disk == disk_of(batch(ONE), 0)


async def test_a_fleet_goes_from_boot_to_clone_and_back(driver: QemuHypervisor) -> None:
    both = HypervisorByStart(HollowHypervisor(Behaviour.of()), driver)
    boots = batch(IndexSet.span(0, 3))
    clones = cloned(IndexSet.span(0, 3))
    newer = KIN._replace(generation=4, birth=42)
    clones = replace(clones, kin=newer)
    for before, after in ((boots, clones), (clones, boots)):
        await up(both, before)
        assert [run.kin for run in await both.listing()] == [before.kin]
        # Whoever has it is told to remove it, whatever the template says now.
        gone = replace(before, spec=after.spec)
        assert await gather(both.undefine(gone)) == (before.indices, ())
        assert await both.listing() == ()


def test_under_systemd_a_process_has_a_scope_of_its_own(tmp_path: Path) -> None:
    assert scope("spv-1", tmp_path / "none") == ()
    if os.geteuid() == 0:
        assert scope("spv-1", tmp_path)[:2] == ("systemd-run", "--scope")
