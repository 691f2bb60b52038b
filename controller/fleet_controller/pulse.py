"""Something that changes, and whoever waits for the next change."""

from __future__ import annotations

import asyncio


class Pulse:
    """`version` grows with each beat; waiters wake once, however many beats there were."""

    def __init__(self) -> None:
        self.version = 0
        self._event = asyncio.Event()

    def beat(self) -> None:
        self.version += 1
        if not self._event.is_set():
            self._event.set()

    async def after(self, version: int) -> int:
        """Return once the version is above this one; the version then."""
        while self.version <= version:
            self._event.clear()
            await self._event.wait()
        return self.version
