"""Lanes: acts on one VM never overlap, whoever began them and whatever became of the caller."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import pytest

from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import StepFailure, StepResult
from fleet_agent.drivers.lanes import ActFailed, Lanes
from fleet_agent.drivers.ports.errors import DriverError

SECONDS = 10  # longest wait of a thread for what a test is about to do


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as opened:
        yield opened


class Work:
    """An act that holds until released, and that notices a second one on the same VM."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.released = threading.Event()
        self.running: set[int] = set()
        self.runs: list[int] = []
        self.overlapped = False

    def __call__(self, index: int) -> None:
        self.overlapped |= index in self.running
        self.running.add(index)
        self.runs.append(index)
        self.begun.release()
        assert self.released.wait(SECONDS)
        self.running.discard(index)

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.acquire, timeout=SECONDS)


async def all_of(lanes: Lanes, pool: ThreadPoolExecutor, indices: IndexSet, act: Work) -> IndexSet:
    done = EMPTY
    async for result in lanes.run(pool, str, indices, act):
        assert not result.failures
        done |= result.done
    return done


async def test_the_next_call_waits_behind_what_a_cancelled_one_began(
    pool: ThreadPoolExecutor,
) -> None:
    lanes, work = Lanes(), Work()
    first = asyncio.create_task(all_of(lanes, pool, IndexSet.of([1]), work))
    await work.has_begun()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(all_of(lanes, pool, IndexSet.of([1, 2]), work))
    await work.has_begun()  # index 2 has a lane of its own
    assert sorted(work.runs) == [1, 2]
    work.released.set()
    assert await second == IndexSet.of([1, 2])
    assert not work.overlapped
    assert sorted(work.runs) == [1, 1, 2]


async def test_a_cancelled_call_drops_what_no_thread_has_begun() -> None:
    lanes, work = Lanes(), Work()
    with ThreadPoolExecutor(1) as pool:
        call = asyncio.create_task(all_of(lanes, pool, IndexSet.span(0, 50), work))
        await work.has_begun()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        work.released.set()
        await lanes.idle()
    assert work.runs == [0]


async def test_idle_waits_for_what_a_thread_has_begun(pool: ThreadPoolExecutor) -> None:
    lanes, work = Lanes(), Work()
    call = asyncio.create_task(all_of(lanes, pool, IndexSet.of([1]), work))
    await work.has_begun()
    call.cancel()
    idle = asyncio.create_task(lanes.idle())
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not idle.done()
    work.released.set()
    await idle
    assert not work.running


async def test_refusals_are_failures_and_the_rest_is_done(pool: ThreadPoolExecutor) -> None:
    def act(index: int) -> None:
        if index == 1:
            raise ActFailed("no_space", "the pool is full", retry=False)

    results = [one async for one in Lanes().run(pool, str, range(3), act)]
    assert IndexSet.union_of(one.done for one in results) == IndexSet.of([0, 2])
    assert [failure for one in results for failure in one.failures] == [
        StepFailure(1, "no_space", "the pool is full", retry=False)
    ]


async def test_a_drivers_error_ends_the_call_and_drops_the_rest() -> None:
    runs: list[int] = []

    def act(index: int) -> None:
        runs.append(index)
        if index == 0:
            raise DriverError("libvirtd is gone")

    lanes = Lanes()
    with ThreadPoolExecutor(1) as pool:
        gate = threading.Event()
        pool.submit(gate.wait, SECONDS)
        results: list[StepResult] = []
        async with aclosing(lanes.run(pool, str, range(2), act)) as call:
            collecting = asyncio.ensure_future(anext(call))
            await asyncio.sleep(0)  # both acts are queued behind the gate
            gate.set()
            with pytest.raises(DriverError, match="libvirtd is gone"):
                results.append(await collecting)
        await lanes.idle()
    assert results == []
    assert runs[0] == 0


async def test_nothing_to_do_is_done_at_once(pool: ThreadPoolExecutor) -> None:
    lanes = Lanes()
    assert [one async for one in lanes.run(pool, str, (), lambda _index: None)] == []
    await lanes.idle()


class Parts:
    """An act for several VMs that holds until released, and notices overlaps."""

    def __init__(self) -> None:
        self.work = Work()

    def __call__(self, part: IndexSet) -> dict[int, ActFailed]:
        work = self.work
        work.overlapped |= not work.running.isdisjoint(part)
        work.running |= set(part)
        work.runs += part
        work.begun.release()
        assert work.released.wait(SECONDS)
        work.running -= set(part)
        return {index: ActFailed("busy", "held open") for index in part if index == 1}


async def parts_of(
    lanes: Lanes, pool: ThreadPoolExecutor, parts: list[IndexSet], act: Parts
) -> tuple[IndexSet, list[StepFailure]]:
    results = [one async for one in lanes.run_parts(pool, str, parts, act)]
    done = IndexSet.union_of(one.done for one in results)
    return done, [failure for one in results for failure in one.failures]


async def test_an_act_for_several_waits_until_all_their_lanes_are_free(
    pool: ThreadPoolExecutor,
) -> None:
    lanes, parts = Lanes(), Parts()
    one = asyncio.create_task(all_of(lanes, pool, IndexSet.of([2]), parts.work))
    await parts.work.has_begun()
    several = asyncio.create_task(parts_of(lanes, pool, [IndexSet.span(0, 4)], parts))
    await asyncio.sleep(0)  # it enters its lanes
    behind = asyncio.create_task(all_of(lanes, pool, IndexSet.of([3]), parts.work))
    beside = asyncio.create_task(all_of(lanes, pool, IndexSet.of([9]), parts.work))
    await parts.work.has_begun()
    assert parts.work.runs == [2, 9]
    parts.work.released.set()
    assert await several == (IndexSet.of([0, 2, 3]), [StepFailure(1, "busy", "held open")])
    assert await one | await behind | await beside == IndexSet.of([2, 3, 9])
    assert not parts.work.overlapped
    assert parts.work.runs == [2, 9, 0, 1, 2, 3, 3]
    await lanes.idle()


async def test_dropping_an_act_for_several_lets_those_behind_it_begin(
    pool: ThreadPoolExecutor,
) -> None:
    lanes, parts = Lanes(), Parts()
    one = asyncio.create_task(all_of(lanes, pool, IndexSet.of([2]), parts.work))
    await parts.work.has_begun()
    several = asyncio.create_task(parts_of(lanes, pool, [IndexSet.span(0, 4)], parts))
    await asyncio.sleep(0)
    behind = asyncio.create_task(all_of(lanes, pool, IndexSet.of([3]), parts.work))
    await asyncio.sleep(0)
    several.cancel()
    with pytest.raises(asyncio.CancelledError):
        await several
    await parts.work.has_begun()  # index 3, though 2 is still being worked on
    parts.work.released.set()
    assert await one | await behind == IndexSet.of([2, 3])
    await lanes.idle()


async def test_a_defect_in_an_act_is_a_failure_of_its_vm_alone(pool: ThreadPoolExecutor) -> None:
    def act(index: int) -> None:
        if index == 1:
            raise SystemError("returned NULL without setting an exception")

    done = EMPTY
    failures: list[StepFailure] = []
    async for result in Lanes().run(pool, str, IndexSet.span(0, 3), act):
        done |= result.done
        failures += result.failures
    assert done == IndexSet.of([0, 2])
    assert [(one.index, one.kind) for one in failures] == [(1, "internal")]
