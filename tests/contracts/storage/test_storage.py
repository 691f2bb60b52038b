"""What every Storage does alike, and what every one that has images does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from fleet.keys import Epoch, Kin, Term
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import CloneRun, Mark
from fleet_agent.drivers.ports.storage import Storage
from tests.contracts.storage.storage_hosts import (
    FLEET,
    HOSTS,
    KIN,
    OTHER,
    SIZE,
    Host,
    batch,
    gather,
    spec,
)


@pytest.fixture(params=sorted(HOSTS))
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with HOSTS[request.param]() as opened:
        yield opened


@pytest.fixture
async def driver(host: Host) -> AsyncIterator[Storage]:
    opened = host.driver()
    yield opened
    await opened.close()


EPOCHS = (Epoch(1, 900), Epoch(2, 8))


class TestStorage:
    """The contract."""

    async def test_each_step_twice_is_done_twice(self, driver: Storage) -> None:
        vms = batch(IndexSet.span(0, 5) | IndexSet.of([250]))
        for step, left in ((driver.clone, (CloneRun(KIN, vms.indices),)), (driver.destroy, ())):
            for _ in range(2):
                assert await gather(step(vms)) == (vms.indices, ())
                assert await driver.listing() == left

    async def test_fleets_births_and_generations_are_told_apart(self, driver: Storage) -> None:
        neighbour = replace(OTHER, name="other")
        younger = replace(batch(IndexSet.of([7])), kin=Kin(FLEET.uid, KIN.generation, 99))
        for vms in (
            batch(IndexSet.span(0, 2)),
            batch(IndexSet.span(0, 3), fleet=neighbour),
            younger,
        ):
            await gather(driver.clone(vms))
        assert await driver.listing() == (
            CloneRun(Kin(OTHER.uid, KIN.generation, KIN.birth), IndexSet.span(0, 3)),
            CloneRun(KIN, IndexSet.span(0, 2)),
            CloneRun(younger.kin, IndexSet.of([7])),
        )

    async def test_it_tells_the_newest_epoch_that_clones_were_made_under(
        self, driver: Storage
    ) -> None:
        assert EPOCHS[0] < EPOCHS[1]
        for index, epoch in enumerate(reversed(EPOCHS)):
            one = replace(batch(IndexSet.of([index])), mark=Mark(Term(1, 1), epoch))
            await gather(driver.clone(one))
        assert [run.newest for run in await driver.listing()] == [EPOCHS[1]]

    async def test_a_taken_name_is_a_conflict_and_stays_untouched(
        self, host: Host, driver: Storage
    ) -> None:
        await host.take_name("spv-1")
        vms = batch(IndexSet.span(0, 3))
        done, failures = await gather(driver.clone(vms))
        assert done == IndexSet.of([0, 2])
        assert [(one.index, one.kind, one.retry) for one in failures] == [(1, "conflict", False)]
        assert "spv-1" in failures[0].message
        assert await gather(driver.destroy(vms)) == (vms.indices, ())
        assert await host.has_taken("spv-1")

    async def test_another_birth_is_neither_taken_over_nor_destroyed(self, driver: Storage) -> None:
        older = batch(IndexSet.span(0, 2))
        await gather(driver.clone(older))
        younger = replace(older, kin=Kin(FLEET.uid, KIN.generation, 42))
        done, failures = await gather(driver.clone(younger))
        assert (done, [one.kind for one in failures]) == (EMPTY, ["conflict", "conflict"])
        assert await gather(driver.destroy(younger)) == (older.indices, ())
        assert await driver.listing() == (CloneRun(KIN, older.indices),)

    async def test_cancelled_midway_then_repeated(self, driver: Storage) -> None:
        vms = batch(IndexSet.span(0, 12))
        for step, left in ((driver.clone, (CloneRun(KIN, vms.indices),)), (driver.destroy, ())):
            async with asyncio.TaskGroup() as group:
                begun = group.create_task(gather(step(vms)))
                await asyncio.sleep(0)  # let it begin
                begun.cancel()
            assert await gather(step(vms)) == (vms.indices, ())
            assert await driver.listing() == left

    async def test_clones_are_known_to_the_next_driver(self, host: Host) -> None:
        first = host.driver()
        await gather(first.clone(batch(IndexSet.span(0, 3))))
        before = await first.listing()
        await first.close()
        second = host.driver()
        assert await second.listing() == before
        await second.close()

    async def test_the_disk_is_named_after_the_vm(self, driver: Storage) -> None:
        assert driver.disk(batch(IndexSet.of([250])), 250).path.endswith("/spv-250")

    async def test_facts_count_bytes(self, driver: Storage) -> None:
        facts = await driver.facts()
        assert facts.description
        assert 0 < facts.free_bytes <= facts.total_bytes


class TestRealDisks:
    """What only a storage that has images can show."""

    @pytest.fixture(params=sorted(HOSTS.keys() - {"hollow"}))
    def host(self, request: pytest.FixtureRequest) -> Iterator[Host]:
        with HOSTS[request.param]() as opened:
            yield opened

    async def test_a_missing_image_is_named(self, driver: Storage) -> None:
        done, failures = await gather(driver.clone(batch(IndexSet.span(0, 2), spec("gone"))))
        assert (done, [one.kind for one in failures]) == (EMPTY, ["image_missing"] * 2)
        assert "golden@gone" in failures[0].message
        assert await driver.listing() == ()

    async def test_an_image_outside_the_pool_is_refused(self, driver: Storage) -> None:
        done, failures = await gather(driver.clone(batch(IndexSet.of([0]), spec("../g"))))
        assert (done, failures[0].kind, failures[0].retry) == (EMPTY, "bad_spec", False)

    async def test_a_larger_disk_is_made(self, driver: Storage) -> None:
        vms = batch(IndexSet.of([0]), spec(size=2 * SIZE))
        assert await gather(driver.clone(vms)) == (vms.indices, ())
