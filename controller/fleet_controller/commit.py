"""Writing decisions to the store: in transactions that hold only while this leader leads.

Each compares the leader's key and the revision every key was decided from. When one does not
hold, or its outcome is unknown, the store is read again before anything else is decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fleet_controller.state import ClusterState
from fleet_controller.store.port import (
    MAX_TXN_BYTES,
    MAX_TXN_OPS,
    Delete,
    Guard,
    Put,
    Store,
    UnknownOutcome,
)

Write = Put | Delete

# A few at once hide the store's latency; more only queue behind its log.
_IN_FLIGHT = 3


class Outdated(Exception):
    """What was decided no longer fits the store; the state has been read anew."""


class Committer:
    """Writes for one leadership. `alive` raises when the lease may be gone."""

    def __init__(
        self, store: Store, state: ClusterState, guard: Guard, alive: Callable[[], None]
    ) -> None:
        self._store = store
        self._state = state
        self._guard = guard
        self._alive = alive
        self.transactions = 0

    async def write(self, writes: Sequence[Write]) -> None:
        """All writes, as few transactions as will hold them. Raises Outdated, StoreError."""
        gate = asyncio.Semaphore(_IN_FLIGHT)

        async def guarded(part: Sequence[Write]) -> None:
            async with gate:
                await self.write_one(part)

        try:
            async with asyncio.TaskGroup() as group:
                for part in parts(writes):
                    group.create_task(guarded(part))
        except* Outdated as outdated:
            raise outdated.exceptions[0] from None
        except* Exception as failed:
            raise failed.exceptions[0] from None

    async def write_one(self, writes: Sequence[Write]) -> None:
        """One transaction. Raises Outdated, StoreError."""
        guards = [Guard(w.key, mod_revision=self._state.mod_revision(w.key)) for w in writes]
        self._alive()
        self.transactions += 1
        try:
            result = await self._store.txn([self._guard, *guards], list(writes))
        except UnknownOutcome:
            if await self._was_written(writes):
                return
            raise
        if not result.applied:
            await self.read_again()
            raise Outdated("the store has changed since this was decided")
        self._state.written(writes, result.revision)

    async def read_again(self) -> None:
        """Take over the store as it is. Raises StoreError."""
        self._state.load(await self._store.read())

    async def _was_written(self, writes: Sequence[Write]) -> bool:
        """Whether the store, read again, holds exactly these writes."""
        snapshot = await self._store.read()
        self._state.load(snapshot)
        there = {entry.key: entry.value for entry in snapshot.entries}
        return all(there.get(w.key) == (w.value if isinstance(w, Put) else None) for w in writes)


def parts(writes: Sequence[Write]) -> list[list[Write]]:
    """Cut so that each part, with the leader's guard, fits one transaction."""
    cut: list[list[Write]] = [[]]
    size = 0
    for write in writes:
        more = 2 * len(write.key) + (len(write.value) if isinstance(write, Put) else 0) + 32
        if len(cut[-1]) == MAX_TXN_OPS - 1 or size + more > MAX_TXN_BYTES - 1024:
            cut.append([])
            size = 0
        cut[-1].append(write)
        size += more
    return [part for part in cut if part]
