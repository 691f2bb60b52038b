"""systemd is told that the program goes on, by the loop that would stand still if it did not.

sd_watchdog_enabled(3): systemd says in the environment how long it waits, and for which process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

ALIVE = "WATCHDOG=1"
# A beat that comes late by less than two thirds of the wait does no harm.
_BEATS_IN_A_WAIT = 3


def watchdog_seconds(environment: Mapping[str, str], pid: int) -> float:
    """How long systemd waits for a beat; 0: it does not wait for one of this process."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    meant = environment.get("WATCHDOG_PID", str(pid))
    if not microseconds.isdecimal() or meant != str(pid):
        return 0.0
    return int(microseconds) / 1e6


async def beat(
    seconds: float, notify: Callable[[str], object], goes_on: Callable[[], Awaitable[object]]
) -> None:
    """Beats for as long as it is run, each time once `goes_on` has returned: what stands still
    there, or keeps the loop busy, makes systemd end the process. Returns at once where systemd
    waits for nothing."""
    while seconds:
        await goes_on()
        notify(ALIVE)
        await asyncio.sleep(seconds / _BEATS_IN_A_WAIT)


async def loop_goes_on() -> None:
    """For programs whose event loop is all that must go on."""
    await asyncio.sleep(0)
