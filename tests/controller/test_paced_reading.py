"""Answers of one host, read no faster than an honest one speaks."""

from __future__ import annotations

import asyncio

import pytest

from fleet.v1 import agent_pb2 as wire
from fleet_controller.relay.paced import Paced, ReadPace
from tests.virtual_loop import run_virtual


class Flood:
    """Says the same again as often as it is read."""

    def __init__(self, size: int) -> None:
        self._said = wire.ConsoleOutput(data=bytes(size))
        self.read_so_far = 0

    async def read(self) -> wire.ConsoleOutput | None:
        self.read_so_far += 1
        return self._said

    def cancel(self) -> None:
        return


@pytest.mark.parametrize(
    ("size", "pace", "most"),
    [(1, ReadPace(10), 130), (1 << 20, ReadPace(1e6), 14), (1 << 20, ReadPace(1e6, 8 << 20), 100)],
    ids=["messages", "bytes", "more bytes"],
)
def test_a_flood_is_read_at_its_pace(size: int, pace: ReadPace, most: int) -> None:
    async def scene() -> None:
        flood = Flood(size)
        paced = Paced(flood, pace)
        try:
            async with asyncio.timeout(10.0):
                while True:
                    await paced.read()
        except TimeoutError:
            pass
        assert most / 2 < flood.read_so_far <= most

    run_virtual(scene())


def test_who_rests_may_say_much_at_once() -> None:
    async def scene() -> None:
        paced = Paced(Flood(1), ReadPace(10))
        for _ in range(3):
            began = asyncio.get_running_loop().time()
            for _ in range(20):
                await paced.read()
            assert asyncio.get_running_loop().time() == began
            await asyncio.sleep(60.0)

    run_virtual(scene())
