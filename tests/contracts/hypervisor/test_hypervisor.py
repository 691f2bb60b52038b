"""What every Hypervisor does alike: hollow hosts, and libvirt on isolated test:// hosts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fleet.keys import Epoch, Term
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import Batch, DomainRun, Mark, Phase, StepResult
from fleet_agent.drivers.ports.hypervisor import Hypervisor
from tests.contracts.hypervisor.hypervisor_hosts import (
    FLEET,
    HOSTS,
    KIN,
    OTHER,
    Host,
    batch,
    disk_of,
    gather,
    up,
)
from tests.contracts.hypervisor.qemu_hosts import MISSING, QemuHost

NEEDS_QEMU = pytest.mark.skipif(bool(MISSING), reason=MISSING or "it is installed")


@pytest.fixture(params=[*sorted(HOSTS), pytest.param("qemu", marks=NEEDS_QEMU)])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    if request.param != "qemu":
        yield HOSTS[request.param](tmp_path)
        return
    made = QemuHost(tmp_path)
    yield made
    made.end_all()


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
            partial(driver.define, disk_of=disk_of),
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

    async def test_it_tells_the_newest_epoch_that_domains_were_defined_under(
        self, driver: Hypervisor
    ) -> None:
        for index, epoch in enumerate((Epoch(2, 8), Epoch(1, 900))):
            one = replace(batch(IndexSet.of([index])), mark=Mark(Term(1, 1), epoch))
            await gather(driver.define(one, disk_of))
        assert [run.newest for run in await driver.listing()] == [Epoch(2, 8)]

    async def test_phases_as_listed(self, driver: Hypervisor) -> None:
        assert await driver.listing() == ()
        vms = batch(IndexSet.span(0, 4))
        await gather(driver.define(vms, disk_of))
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
            await gather(driver.define(vms, disk_of))
        kins = [
            (run.kin.fleet_uid, run.kin.birth, len(run.indices)) for run in await driver.listing()
        ]
        assert kins == [(OTHER.uid, 41, 3), (FLEET.uid, 41, 2), (FLEET.uid, 99, 1)]

    async def test_a_taken_name_is_a_conflict_and_stays_untouched(
        self, host: Host, driver: Hypervisor
    ) -> None:
        await host.take_name("spv-1")
        vms = batch(IndexSet.span(0, 3))
        done, failures = await gather(driver.define(vms, disk_of))
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

    async def test_for_which_restart_a_domain_was_started_is_remembered_with_it(
        self, host: Host, driver: Hypervisor
    ) -> None:
        both = batch(IndexSet.span(0, 2))
        asked = replace(both, restarts=((17, IndexSet.of([1])),))
        await gather(driver.define(both, disk_of))
        await gather(driver.start(asked))
        first, second = IndexSet.of([0]), IndexSet.of([1])
        told = (
            DomainRun(KIN, first, Phase.ACTIVE, 0),
            DomainRun(KIN, second, Phase.ACTIVE, 17),
        )
        assert await driver.listing() == told
        await gather(driver.start(replace(both, restarts=((18, both.indices),))))
        assert await driver.listing() == told, "what is active keeps what it was started for"
        anew = host.driver()
        assert await anew.listing() == told, "an agent that begins anew sees the same"
        await anew.close()
        await gather(driver.await_ready(both))
        await gather(driver.stop(both))
        assert await driver.listing() == (DomainRun(KIN, both.indices, Phase.DEFINED, 0),)
        await gather(driver.start(replace(both, restarts=((18, second),))))
        assert await driver.listing() == (
            DomainRun(KIN, first, Phase.ACTIVE, 0),
            DomainRun(KIN, second, Phase.ACTIVE, 18),
        )

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
        define = partial(driver.define, disk_of=disk_of)
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

    async def test_what_somebody_has_suspended_is_told_and_left_as_it_is(
        self, host: Host, driver: Hypervisor
    ) -> None:
        vms = batch(IndexSet.span(0, 3))
        await up(driver, vms)
        await gather(driver.await_ready(vms))
        host.suspend(1)
        runs, suspended = await driver.listing()
        assert (suspended.phase, suspended.indices) == (Phase.SUSPENDED, IndexSet.of([1]))
        assert suspended.why and runs.phase is Phase.READY
        assert await gather(driver.start(vms)) == (vms.indices, ())
        assert await driver.listing() == (runs, suspended)
        host.resume(1)
        assert await driver.listing() == (DomainRun(KIN, vms.indices, Phase.READY),)
        host.suspend(2)
        assert await gather(driver.stop(vms)) == (vms.indices, ())
        assert await driver.listing() == (DomainRun(KIN, vms.indices, Phase.DEFINED),)

    async def test_what_is_suspended_and_goes_on_is_heard(
        self, host: Host, driver: Hypervisor
    ) -> None:
        await up(driver, batch(IndexSet.of([0])))
        async with asyncio.timeout(10):
            changes = driver.changes()
            for act in (host.suspend, host.resume):
                heard = asyncio.ensure_future(anext(changes))
                await asyncio.sleep(0)  # let it listen
                act(0)
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
