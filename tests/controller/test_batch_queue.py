"""Batches: whoever comes alone is taken at once, many are taken together, and none is lost."""

from __future__ import annotations

import asyncio

import pytest

from fleet_controller.batch_queue import BatchQueue
from tests.virtual_loop import virtual


def queue(apart: float = 0.1) -> BatchQueue[int]:
    return BatchQueue(asyncio.get_running_loop().time, apart)


@virtual
async def test_whoever_comes_alone_is_taken_at_once() -> None:
    waits, loop = queue(), asyncio.get_running_loop()
    for one in range(3):
        waits.put(one)
        began = loop.time()
        assert await waits.take(10) == [one]
        assert loop.time() == began
        await asyncio.sleep(1.0)


@virtual
async def test_those_that_come_after_a_batch_are_the_next_one_and_keep_their_order() -> None:
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
    assert len(batches) <= 12 and loop.time() - began <= 1.2


@virtual
async def test_a_batch_has_as_many_as_are_asked_for_at_most() -> None:
    waits = queue()
    for one in range(25):
        waits.put(one)
    assert [len(await waits.take(10)) for _ in range(3)] == [10, 10, 5]
    assert waits.left() == []


@virtual
async def test_who_is_cancelled_while_it_waits_for_more_loses_none() -> None:
    waits = queue(apart=10.0)
    waits.put(0)
    assert await waits.take(10) == [0]
    waits.put(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await waits.take(10)
    waits.put(2)
    assert sorted(waits.left()) == [1, 2]
