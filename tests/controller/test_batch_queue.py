"""Batches: a few are taken at once, many are taken together, and none is lost."""

from __future__ import annotations

import asyncio

import pytest

from fleet_controller.batch_queue import BatchQueue
from fleet_controller.token_bucket import Rate
from tests.virtual_loop import virtual

FEW = Rate(per_second=10, burst=3)


def queue(rate: Rate = FEW) -> BatchQueue[int]:
    return BatchQueue(asyncio.get_running_loop().time, rate)


@virtual
async def test_whoever_comes_alone_or_as_one_of_a_few_is_taken_at_once() -> None:
    waits, loop = queue(), asyncio.get_running_loop()
    for _ in range(3):
        began = loop.time()
        for one in range(3):
            waits.put(one)
            assert await waits.take(10) == [one]
        assert loop.time() - began < 0.001
        await asyncio.sleep(1.0)


@virtual
async def test_many_that_come_one_after_another_are_taken_together_in_their_order() -> None:
    waits, loop = queue(), asyncio.get_running_loop()

    async def come() -> None:
        for one in range(100):
            waits.put(one)
            await asyncio.sleep(0.01)

    coming, batches, began = asyncio.create_task(come()), list[list[int]](), loop.time()
    while sum(map(len, batches)) < 100:
        batches.append(await waits.take(1_000))
    await coming
    assert [one for batch in batches for one in batch] == list(range(100))
    assert len(batches) <= 15 and loop.time() - began <= 1.2


@virtual
async def test_a_batch_has_as_many_as_are_asked_for_at_most() -> None:
    waits = queue()
    for one in range(25):
        waits.put(one)
    assert [len(await waits.take(10)) for _ in range(3)] == [10, 10, 5]
    assert waits.left() == []


@virtual
async def test_who_is_cancelled_while_it_waits_for_more_loses_none() -> None:
    waits = queue(Rate(per_second=0.1, burst=1))
    waits.put(0)
    assert await waits.take(10) == [0]
    waits.put(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await waits.take(10)
    waits.put(2)
    assert sorted(waits.left()) == [1, 2]
