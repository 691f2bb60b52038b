"""What many ask for at once, done together: in few transactions, though each comes alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from fleet_controller.token_bucket import Rate

T = TypeVar("T")

# Batches. A transaction takes longer to write than its next caller to come.
RATE = Rate(per_second=10, burst=20)


class BatchQueue(Generic[T]):
    """Whoever comes alone, or as one of a few, is taken at once. While thousands come, one after
    another, those that have come since the last batch are the next one."""

    def __init__(self, clock: Callable[[], float], rate: Rate = RATE) -> None:
        """`clock`: monotonic, in seconds. `rate`: of batches."""
        self._rate = rate
        self._clock = clock
        self._queue: asyncio.Queue[T] = asyncio.Queue()
        self._rested = clock()  # when all of the burst may be taken again

    def put(self, item: T) -> None:
        self._queue.put_nowait(item)

    async def take(self, most: int) -> list[T]:
        """As many as there are, in their order, and at least one."""
        batch = [await self._queue.get()]
        try:
            await asyncio.sleep(self._wait())
        except asyncio.CancelledError:
            self._queue.put_nowait(batch[0])
            raise
        while not self._queue.empty() and len(batch) < most:
            batch.append(self._queue.get_nowait())
        return batch

    def _wait(self) -> float:
        """Seconds until the batch that is counted by this may be taken."""
        now = self._clock()
        self._rested = max(self._rested, now) + 1.0 / self._rate.per_second
        return max(0.0, self._rested - now - self._rate.burst / self._rate.per_second)

    def left(self) -> list[T]:
        """All that nobody has taken; they are taken by this."""
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]
