"""One call over the simulated network, at the end that made it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from tests.simulation.engine.clockwork import Clockwork


class Call:
    """What comes back for one call, in order, until it ends with an error."""

    __slots__ = ("_error", "_items", "_loop", "_waiter")

    def __init__(self, loop: Clockwork) -> None:
        self._loop = loop
        self._items: deque[Any] = deque()
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._wake()

    def fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._wake()

    async def read(self) -> Any:
        while not self._items:
            if self._error is not None:
                raise self._error
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._items.popleft()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
