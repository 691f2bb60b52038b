"""Replicas that campaign for the leader's key, each through a path to the store that can fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from fleet_controller.election.election import Election, LeaderLease
from fleet_controller.store.health import StoreHealth
from fleet_controller.store.port import (
    Change,
    Delete,
    Guard,
    Put,
    Snapshot,
    Store,
    StoreReplaced,
    TxnResult,
    Unavailable,
    UnknownOutcome,
)

PATIENCE_SECONDS = 15.0
# Longer than any run: a lease that ended later would raise the revision under another test.
LONG = 3600


class Faulty:
    """A store as one replica sees it, through a path of its own that can fail."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.cut = False
        self.lose_answer_of_next_txn = False
        self.replaced = False
        self.kept = 0
        self.after_keep_alive: Callable[[], None] = lambda: None

    @property
    def durable(self) -> bool:
        return self._store.durable

    @property
    def description(self) -> str:
        return self._store.description

    async def _pass(self) -> None:
        if self.replaced:
            raise StoreReplaced("another store")
        if self.cut:
            await asyncio.sleep(0)
            raise Unavailable("cut off")

    async def read(self, prefix: str = "") -> Snapshot:
        await self._pass()
        return await self._store.read(prefix)

    async def txn(self, guards: Sequence[Guard], writes: Sequence[Put | Delete]) -> TxnResult:
        await self._pass()
        result = await self._store.txn(guards, writes)
        if self.lose_answer_of_next_txn:
            self.lose_answer_of_next_txn = False
            raise UnknownOutcome("answer lost")
        return result

    def watch(self, prefix: str, after: int) -> AsyncIterator[tuple[Change, ...]]:
        return self._store.watch(prefix, after)

    async def grant(self, ttl_seconds: int) -> int:
        await self._pass()
        return await self._store.grant(ttl_seconds)

    async def health(self) -> StoreHealth:
        return await self._store.health()

    async def keep_alive(self, lease: int) -> int:
        await self._pass()
        ttl = await self._store.keep_alive(lease)
        self.kept += 1
        self.after_keep_alive()
        return ttl

    async def revoke(self, lease: int) -> None:
        await self._pass()
        await self._store.revoke(lease)

    async def close(self) -> None:
        await self._store.close()


class Replica:
    """One that leads when it can, and tells of its terms."""

    def __init__(
        self, store: Store, name: str, ttl: int = LONG, process: str = "", gone: str = ""
    ) -> None:
        """`gone`: the process that is known to have ended; all are that have no name."""
        self.path = Faulty(store)
        self.clock_ahead = 0.0
        self.election = Election(
            self.path, name, f"{name}:7400", self._now, ttl, process, lambda other: other == gone
        )
        self.terms: list[LeaderLease] = []
        self.cancelled = 0
        self.task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def _now(self) -> float:
        return time.monotonic() + self.clock_ahead

    async def work(self, leadership: LeaderLease) -> None:
        self.terms.append(leadership)
        self._news.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1
            self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def until_leading(self, times: int = 1) -> LeaderLease:
        await self.until(lambda: len(self.terms) >= times and self.cancelled < len(self.terms))
        return self.terms[-1]

    async def until_cancelled(self, times: int = 1) -> None:
        await self.until(lambda: self.cancelled >= times)

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def die(self) -> None:
        """As by SIGKILL: without a word to the store."""
        self.path.cut = True
        await self.stop()


@asynccontextmanager
async def running(*replicas: Replica) -> AsyncIterator[None]:
    for replica in replicas:
        replica.task = asyncio.create_task(replica.election.lead(replica.work))
    try:
        yield
    finally:
        for replica in replicas:
            await replica.stop()


async def eventually(condition: Callable[[], bool]) -> None:
    """For what tells nobody when it changes."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


def leading(*replicas: Replica) -> list[bool]:
    return [replica.election.leadership is not None for replica in replicas]


async def write_as(leadership: LeaderLease, store: Store, key: str) -> bool:
    return (await store.txn([leadership.guard], [Put(key, b"")])).applied
