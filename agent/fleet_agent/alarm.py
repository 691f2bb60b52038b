"""One sleeper that wakes when it is rung or when its time has come."""

from __future__ import annotations

import asyncio


class Alarm:
    """A ring while nobody sleeps is kept for the next sleep, so that none is lost."""

    __slots__ = ("_rung", "_sleeper")

    def __init__(self) -> None:
        self._rung = False
        self._sleeper: asyncio.Future[None] | None = None

    def ring(self) -> None:
        self._rung = True
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    async def sleep(self, seconds: float | None) -> bool:
        """Until rung, or for so long (None: for ever). True when it was rung. One sleeper."""
        if not self._rung and (seconds is None or seconds > 0):
            await self._sleep(seconds)
        rung, self._rung = self._rung, False
        return rung

    async def _sleep(self, seconds: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._sleeper = sleeper = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, _wake, sleeper)
        try:
            await sleeper
        finally:
            self._sleeper = None
            if timer is not None:
                timer.cancel()


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
