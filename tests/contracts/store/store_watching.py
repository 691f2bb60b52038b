"""A watch under observation: its batches as they come, and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fleet_controller.store.port import Change, Store

# For conditions that hold within milliseconds unless something is wrong.
PATIENCE_SECONDS = 15.0


class Watching:
    def __init__(self) -> None:
        self.batches: list[tuple[Change, ...]] = []
        self.error: BaseException | None = None
        self.ended = False
        self.completed = False
        self._news = asyncio.Event()

    @property
    def changes(self) -> list[Change]:
        return [change for batch in self.batches for change in batch]

    @property
    def keys(self) -> list[str]:
        return [change.key for change in self.changes]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def until_key(self, key: str) -> None:
        """Until the last change is that of this key: a mark that the test wrote."""
        await self.until(lambda: bool(self.batches) and self.batches[-1][-1].key == key)

    async def until_ended(self) -> None:
        await self.until(lambda: self.ended)

    async def run(self, watch: AsyncIterator[tuple[Change, ...]]) -> None:
        try:
            async for batch in watch:
                self.batches.append(batch)
                self._news.set()
            self.completed = True
        except Exception as error:
            self.error = error
        finally:
            self.ended = True
            self._news.set()


@asynccontextmanager
async def observing(watch: AsyncIterator[tuple[Change, ...]]) -> AsyncIterator[Watching]:
    seen = Watching()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(seen.run(watch))
        yield seen
        task.cancel()


def watching(
    store: Store, prefix: str = "", after: int = 0
) -> AbstractAsyncContextManager[Watching]:
    return observing(store.watch(prefix, after))
