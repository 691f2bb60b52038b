"""Something that changes, and any number of tasks that wait for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable


class Beat:
    """Who waits names the condition: no beat can be missed between a look and the waiting."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def beat(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Whether it has become true within so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not true():
                    await self._event.wait()
        return true()
