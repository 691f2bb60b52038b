"""What the agent itself lacks, and what does not end: no VM suffers for it, and nobody waits for
ever."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fleet.ranges import IndexSet
from fleet_agent.core.model import Phase
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.qemu import hypervisor, monitor, processes, vms
from fleet_agent.drivers.qemu.folders import CONSOLE_LOG
from fleet_agent.drivers.qemu.hypervisor import QemuHypervisor
from fleet_agent.drivers.qemu.processes import QEMU_LOG, last_words
from fleet_agent.drivers.qemu.sweep import QemuSweep
from tests.contracts.hypervisor.hypervisor_hosts import FLEET, batch, disk_of, gather, up
from tests.contracts.hypervisor.qemu_hosts import MISSING, QemuHost, drop, hold

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "it is installed")
ONE, TWO = IndexSet.of([0]), IndexSet.span(0, 2)
NO_FILES = OSError(errno.EMFILE, os.strerror(errno.EMFILE))


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


def lacking(*_: object, **__: object) -> None:
    raise NO_FILES


def disconnect(driver: QemuHypervisor) -> None:
    for vm in driver.vms:
        assert vm.monitor is not None
        drop(vm.monitor)


async def lost(driver: QemuHypervisor) -> None:
    async with asyncio.timeout(20):
        for vm in driver.vms:
            while vm.monitor is not None and not vm.monitor.lost:
                await vm.monitor._client.runstate_changed()


async def test_a_first_look_that_failed_is_taken_again(
    host: QemuHost, driver: QemuHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = batch(ONE)
    await up(driver, wanted)
    before = host.pid(0)
    await driver.close()
    anew = host.driver()
    monkeypatch.setattr(vms, "running", lacking)
    for _ in range(2):
        with pytest.raises(DriverError, match="Too many open files"):
            await anew.listing()
    monkeypatch.undo()
    (run,) = await anew.listing()
    assert (run.indices, run.phase, host.pid(0)) == (ONE, Phase.ACTIVE, before)
    await anew.close()


@pytest.mark.parametrize("where", ["pidfd_open", "stat", "comm", "definition"])
async def test_what_runs_is_not_taken_for_ended_where_it_cannot_be_looked_at(
    where: str, host: QemuHost, driver: QemuHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second QEMU on one disk would ruin it."""
    wanted = batch(ONE)
    await up(driver, wanted)
    before = host.pid(0)
    await driver.close()
    match where:
        case "pidfd_open":
            monkeypatch.setattr(os, "pidfd_open", lacking)
        case "stat":
            monkeypatch.setattr(processes, "_state", lacking)
        case "comm":
            monkeypatch.setattr(processes, "_command_name", lacking)
        case _:
            monkeypatch.setattr(Path, "open", lacking)
    anew = host.driver()
    with pytest.raises(DriverError):
        await gather(anew.start(wanted))
    monkeypatch.undo()
    assert await gather(anew.start(wanted)) == (ONE, ())
    assert host.pid(0) == before
    await anew.close()


async def test_a_vm_that_was_not_asked_for_want_of_a_file_goes_on(
    host: QemuHost, driver: QemuHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = batch(ONE)
    await up(driver, wanted)
    before = host.pid(0)
    disconnect(driver)
    await lost(driver)
    monkeypatch.setattr(monitor, "connected", lacking)
    (run,) = await driver.listing()
    assert run.phase is Phase.ACTIVE
    monkeypatch.undo()
    (run,) = await driver.listing()
    assert (run.phase, host.pid(0)) == (Phase.ACTIVE, before)


async def test_one_halted_vm_that_cannot_be_asked_now_is_not_ended(
    host: QemuHost, driver: QemuHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = batch(ONE)
    await up(driver, wanted)
    before = host.pid(0)
    (vm,) = driver.vms
    vm.stands = "io-error"

    async def not_asked(*_: object, **__: object) -> None:
        raise monitor.NotAsked("no file is left")

    monkeypatch.setattr(monitor.Monitor, "ask", not_asked)
    done, (failure,) = await gather(driver.start(wanted))
    assert not done and failure.message == "no file is left" and host.pid(0) == before


async def test_a_silent_vm_is_asked_one_question_at_a_time(
    host: QemuHost, driver: QemuHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = batch(ONE)
    await up(driver, wanted)
    monkeypatch.setattr(hypervisor, "LOOK_SECONDS", 0.01)
    hold(0, host)
    (vm,) = driver.vms
    await driver.listing()
    first = vm.asked
    for _ in range(5):
        await driver.listing()
    assert first is not None and vm.asked is first
    os.kill(host.pid(0) or 0, signal.SIGCONT)


async def test_one_that_does_not_end_is_named_and_waited_for_only_so_long(
    host: QemuHost, driver: QemuHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = batch(ONE)
    await up(driver, wanted)
    monkeypatch.setattr(vms, "END_SECONDS", 0.1)
    monkeypatch.setattr(processes.Process, "kill", lambda self: None)
    done, (failure,) = await gather(driver.stop(wanted))
    assert not done and failure.kind == "timeout" and "has not ended" in failure.message
    monkeypatch.undo()
    assert await gather(driver.stop(wanted)) == (ONE, ())
    assert host.pid(0) is None


async def test_an_agent_that_ends_waits_for_acts_only_so_long(
    driver: QemuHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = batch(ONE)
    await up(driver, wanted)
    monkeypatch.setattr(hypervisor, "CLOSE_SECONDS", 0.1)
    begun = asyncio.Event()

    async def without_end(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(vms.Vms, "end", without_end)
    stopping = asyncio.create_task(gather(driver.stop(wanted)))
    await begun.wait()
    async with asyncio.timeout(20):
        await driver.close()
    stopping.cancel()
    await asyncio.wait([stopping])


async def test_whoever_waits_for_one_vm_keeps_no_other_waiting(driver: QemuHypervisor) -> None:
    both = batch(TWO)
    await gather(driver.define(both, disk_of))
    gate = asyncio.Semaphore(1)
    driver._starting = gate
    async with driver._lock(both, 0):  # an act on it is under way
        held = asyncio.create_task(gather(driver.start(batch(ONE))))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(20):
            assert await gather(driver.start(batch(IndexSet.of([1])))) == (IndexSet.of([1]), ())
    assert await held == (ONE, ())


async def test_what_qemu_says_is_bounded_as_consoles_are(
    host: QemuHost, driver: QemuHypervisor
) -> None:
    await up(driver, batch(ONE))
    folder = host.root / FLEET.domain_name(0)
    logs = [folder / name for name in (CONSOLE_LOG, QEMU_LOG)]
    for log in logs:
        log.write_bytes(b"x" * (1 << 20) + b"\nthe end\n")
    await QemuSweep(driver, 64 * 1024).sweep()
    for log in logs:
        assert log.stat().st_blocks * 512 <= 128 * 1024, log
    assert last_words(folder) == "the end"
