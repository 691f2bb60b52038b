"""systemd hears of a program for as long as its loops go on, and no longer."""

from __future__ import annotations

import asyncio

import pytest

from fleet.serving.watchdog import ALIVE, beat, loop_goes_on, watchdog_seconds
from tests.virtual_loop import virtual


@virtual
async def test_it_beats_three_times_within_the_wait() -> None:
    said: list[str] = []
    beating = asyncio.create_task(beat(60.0, said.append, loop_goes_on))
    await asyncio.sleep(59.0)
    beating.cancel()
    assert said == [ALIVE] * 3


@virtual
async def test_it_is_silent_while_what_matters_stands_still() -> None:
    said: list[str] = []
    stands_still = asyncio.Event()

    async def decides() -> None:
        await stands_still.wait()

    beating = asyncio.create_task(beat(60.0, said.append, decides))
    await asyncio.sleep(600.0)
    assert said == []
    stands_still.set()
    await asyncio.sleep(1.0)
    assert said == [ALIVE]
    beating.cancel()


@virtual
async def test_without_systemd_nothing_is_said() -> None:
    said: list[str] = []
    await beat(0.0, said.append, loop_goes_on)
    assert said == []


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_the_wait_is_that_of_this_process(environment: dict[str, str], seconds: float) -> None:
    assert watchdog_seconds(environment, pid=7) == seconds
