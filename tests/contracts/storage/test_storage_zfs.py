"""What the ZFS driver makes of ZFS's answers, over a fake of its calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import CloneRun
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.ports.storage import Storage
from fleet_agent.drivers.zfs.storage import ZfsStorage
from tests.contracts.storage.storage_hosts import (
    FLEET,
    KIN,
    SIZE,
    FakeZfs,
    FakeZfsHost,
    batch,
    gather,
    spec,
)


@pytest.fixture
def host() -> FakeZfsHost:
    return FakeZfsHost(FakeZfs())


@pytest.fixture
async def driver(host: FakeZfsHost) -> AsyncIterator[Storage]:
    opened = host.driver()
    yield opened
    await opened.close()


async def test_marks_are_given_with_the_clone(host: FakeZfsHost, driver: Storage) -> None:
    await gather(driver.clone(batch(IndexSet.of([250]))))
    assert host.calls.volumes_by_name["tank/spv-250"] == {
        "uid": FLEET.uid,
        "index": "250",
        "generation": "3",
        "birth": "41",
        "term": "1:10",
        "epoch": "1:20",
    }


async def test_a_node_that_never_comes(host: FakeZfsHost) -> None:
    host.calls.looks_until_node = 1_000_000
    driver = ZfsStorage("tank", calls=host.calls, node_seconds=0.2)
    done, failures = await gather(driver.clone(batch(IndexSet.span(0, 2))))
    assert (done, [one.kind for one in failures]) == (EMPTY, ["node_missing"] * 2)
    assert "/dev/zvol/tank/spv-0" in failures[0].message
    # The clones stay, and count once their nodes are there.
    host.calls.looks_until_node = 0
    assert await gather(driver.clone(batch(IndexSet.span(0, 2)))) == (IndexSet.span(0, 2), ())
    await driver.close()


async def test_a_node_of_another_size_does_not_count(host: FakeZfsHost) -> None:
    driver = ZfsStorage("tank", calls=host.calls, node_seconds=0.2)
    await gather(driver.clone(batch(IndexSet.of([0]))))
    grown = batch(IndexSet.of([0]), spec(size=2 * SIZE))
    done, failures = await gather(driver.clone(grown))
    assert (done, failures[0].kind) == (EMPTY, "node_missing")
    await driver.close()


async def test_a_busy_volume_is_tried_again(host: FakeZfsHost, driver: Storage) -> None:
    vms = batch(IndexSet.span(0, 3))
    await gather(driver.clone(vms))
    host.calls.busy = {"tank/spv-1": 2}
    assert await gather(driver.destroy(vms)) == (vms.indices, ())


async def test_a_volume_that_stays_busy_is_given_up(
    host: FakeZfsHost, driver: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet_agent.drivers.zfs.storage.BUSY_WAITS", (0.0, 0.0))
    vms = batch(IndexSet.span(0, 3))
    await gather(driver.clone(vms))
    host.calls.busy = {"tank/spv-1": 1000}
    done, failures = await gather(driver.destroy(vms))
    assert (done, [(one.index, one.kind) for one in failures]) == (
        IndexSet.of([0, 2]),
        [(1, "busy")],
    )
    assert await driver.listing() == (CloneRun(KIN, IndexSet.of([1])),)


async def test_a_full_pool(host: FakeZfsHost, driver: Storage) -> None:
    host.calls.room = 3
    done, failures = await gather(driver.clone(batch(IndexSet.span(0, 5))))
    assert len(done) == 3
    assert [one.kind for one in failures] == ["no_space"] * 2


async def test_a_pool_that_is_gone_is_the_drivers_error(host: FakeZfsHost, driver: Storage) -> None:
    host.calls.imported = False
    calls: list[Callable[[], Coroutine[None, None, object]]] = [
        driver.listing,
        driver.facts,
        lambda: gather(driver.clone(batch(IndexSet.of([0])))),
        lambda: gather(driver.destroy(batch(IndexSet.of([0])))),
    ]
    for call in calls:
        with pytest.raises(DriverError):
            await call()


async def test_a_mark_inherited_from_the_parent_is_none(host: FakeZfsHost, driver: Storage) -> None:
    await gather(driver.clone(batch(IndexSet.of([0]))))
    inherited = host.calls.volumes_by_name["tank/spv-0"]
    host.calls.volumes_by_name["tank/golden"] = inherited
    assert await driver.listing() == (CloneRun(KIN, IndexSet.of([0])),)


async def test_many_are_destroyed_by_few_programs(host: FakeZfsHost, driver: Storage) -> None:
    vms = batch(IndexSet.span(0, 150))
    await gather(driver.clone(vms))
    assert await gather(driver.destroy(vms)) == (vms.indices, ())
    assert sorted(host.calls.programs_run) == [22, 64, 64]
    assert await driver.listing() == ()


async def test_without_programs_they_are_destroyed_one_by_one(
    host: FakeZfsHost, driver: Storage
) -> None:
    host.calls.programs = False
    vms = batch(IndexSet.span(0, 70))
    await gather(driver.clone(vms))
    host.calls.busy = {"tank/spv-1": 2}
    assert await gather(driver.destroy(vms)) == (vms.indices, ())
    assert await driver.listing() == ()


async def test_only_marked_ones_reach_a_program(host: FakeZfsHost, driver: Storage) -> None:
    await FakeZfsHost.take_name(host, "spv-1")
    vms = batch(IndexSet.span(0, 3))
    await gather(driver.clone(vms))
    assert await gather(driver.destroy(vms)) == (vms.indices, ())
    assert host.calls.programs_run == [2]
    assert await host.has_taken("spv-1")
