"""What many ask for at once, done together: in few transactions, though each comes alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# Seconds. A transaction takes longer to write than its next caller to come.
APART = 0.1


class BatchQueue(Generic[T]):
    """Whoever comes alone is taken at once. Those that come within `apart` seconds after a batch
    are the next one: while thousands come, one after another, a transaction is for many."""

    def __init__(self, clock: Callable[[], float], apart: float = APART) -> None:
        """`clock`: monotonic, in seconds."""
        self._apart = apart
        self._clock = clock
        self._queue: asyncio.Queue[T] = asyncio.Queue()
        self._next = clock()

    def put(self, item: T) -> None:
        self._queue.put_nowait(item)

    async def take(self, most: int) -> list[T]:
        """As many as there are, in their order, and at least one."""
        batch = [await self._queue.get()]
        try:
            await asyncio.sleep(max(0.0, self._next - self._clock()))
        except asyncio.CancelledError:
            self._queue.put_nowait(batch[0])
            raise
        self._next = self._clock() + self._apart
        while not self._queue.empty() and len(batch) < most:
            batch.append(self._queue.get_nowait())
        return batch

    def left(self) -> list[T]:
        """All that nobody has taken; they are taken by this."""
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]
