"""The store in memory: the same semantics, nothing kept past the process.

It draws no randomness and reads no clock but the one given, so it runs alike on a virtual one.
Leases end when their time has come by that clock: found by whatever call comes next, and by
watches, which wake for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass

from fleet_controller.store import transaction
from fleet_controller.store.health import StoreHealth
from fleet_controller.store.port import (
    Change,
    Compacted,
    Delete,
    Entry,
    Guard,
    LeaseLost,
    Put,
    Snapshot,
    StoreReplaced,
    TxnResult,
    Unavailable,
)

# Revisions kept for watches that lag: a full scale of the largest fleet takes some 40.
HISTORY_REVISIONS = 1_000


@dataclass(slots=True)
class _Lease:
    ttl: int
    ends: float


@dataclass(frozen=True, slots=True)
class _Stored:
    entry: Entry
    lease: int


class MemoryStore:
    """See port.Store. `clock` gives seconds, of any origin, never going back."""

    durable = False
    description = "memory (not durable)"

    def __init__(self, clock: Callable[[], float], history: int = HISTORY_REVISIONS) -> None:
        self._clock = clock
        self._limit = history
        self._keys: dict[str, _Stored] = {}
        self._leases: dict[int, _Lease] = {}
        self._granted = 0
        self._revision = 1
        self._compacted = 0
        self._history: deque[tuple[Change, ...]] = deque()
        self._news = asyncio.Event()
        self._closed = False
        self._cluster = "memory"

    @classmethod
    def restored(cls, snapshot: Snapshot, clock: Callable[[], float]) -> MemoryStore:
        """One that begins as the snapshot is, with nobody's lease: as an etcd made of a backup
        once the leases in it have ended. The cluster is the one that the snapshot names."""
        made = cls(clock)
        made._revision = made._compacted = snapshot.revision
        made._cluster = snapshot.cluster
        made._keys = {entry.key: _Stored(entry, 0) for entry in snapshot.entries}
        return made

    async def read(self, prefix: str = "") -> Snapshot:
        await self._begin()
        found = [stored.entry for key, stored in self._keys.items() if key.startswith(prefix)]
        found.sort(key=lambda entry: entry.key)
        return Snapshot(tuple(found), self._revision, self._cluster)

    async def txn(self, guards: Sequence[Guard], writes: Sequence[Put | Delete]) -> TxnResult:
        """Also raises LeaseLost for a Put on a lease that is gone: nothing is written."""
        transaction.check(guards, writes)
        await self._begin()
        if not all(map(self._holds, guards)):
            return TxnResult(False, self._revision)
        for write in writes:
            if isinstance(write, Put) and write.lease and write.lease not in self._leases:
                raise LeaseLost("the lease of a write is gone")
        self._apply(writes)
        return TxnResult(True, self._revision)

    async def watch(self, prefix: str, after: int) -> AsyncIterator[tuple[Change, ...]]:
        """Also raises StoreReplaced for a revision that is yet to come."""
        if after > self._revision:
            raise StoreReplaced(f"the store in memory has not reached revision {after}")
        while not self._closed:
            self._expire()
            if after < self._compacted:
                raise Compacted(self._compacted)
            batch = tuple(change for change in self._since(after) if change.key.startswith(prefix))
            after = self._revision
            if batch:
                yield batch
            else:
                await self._wait(self._news)

    async def grant(self, ttl_seconds: int) -> int:
        await self._begin()
        self._granted += 1
        self._leases[self._granted] = _Lease(ttl_seconds, self._clock() + ttl_seconds)
        self._wake()
        return self._granted

    async def keep_alive(self, lease: int) -> int:
        await self._begin()
        held = self._leases.get(lease)
        if held is None:
            raise LeaseLost(f"lease {lease:x} has expired or was revoked")
        held.ends = self._clock() + held.ttl
        return held.ttl

    async def revoke(self, lease: int) -> None:
        await self._begin()
        self._end(lease)

    async def compact(self, revision: int) -> None:
        """Forget the history before this revision. Not part of the port."""
        await self._begin()
        if revision > self._revision:
            raise Unavailable(f"the store in memory has not reached revision {revision}")
        self._forget(revision)

    async def health(self) -> StoreHealth:
        return StoreHealth((), 0.0)

    async def close(self) -> None:
        self._closed = True
        self._wake()

    async def _begin(self) -> None:
        """Each call gives others a turn first, as one over a network does."""
        await asyncio.sleep(0)
        if self._closed:
            raise Unavailable("the store in memory has been closed")
        self._expire()

    def _holds(self, guard: Guard) -> bool:
        stored = self._keys.get(guard.key)
        if guard.mod_revision is not None:
            return guard.mod_revision == (stored.entry.mod_revision if stored else 0)
        return guard.create_revision == (stored.entry.create_revision if stored else 0)

    def _apply(self, writes: Iterable[Put | Delete]) -> None:
        """One revision for all; none when nothing changes."""
        revision = self._revision + 1
        changes = [
            change for write in writes if (change := self._write(write, revision)) is not None
        ]
        if changes:
            self._revision = revision
            self._history.append(tuple(changes))
            self._forget(revision - self._limit)
            self._wake()

    def _write(self, write: Put | Delete, revision: int) -> Change | None:
        before = self._keys.get(write.key)
        if isinstance(write, Delete):
            if before is None:
                return None
            del self._keys[write.key]
            return Change(write.key, None, 0, revision)
        created = before.entry.create_revision if before else revision
        entry = Entry(write.key, write.value, created, revision)
        self._keys[write.key] = _Stored(entry, write.lease)
        return Change(write.key, write.value, created, revision)

    def _since(self, after: int) -> Iterable[Change]:
        """Revision r is at place r - 1 - (first kept); the first write makes revision 2."""
        first = self._revision - len(self._history) + 1
        for place in range(max(0, after + 1 - first), len(self._history)):
            yield from self._history[place]

    def _forget(self, before: int) -> None:
        """Changes up to and with `before` go: they made the state as of `before`."""
        while self._history and self._revision - len(self._history) < before:
            self._history.popleft()
        self._compacted = max(self._compacted, before)

    def _expire(self) -> None:
        now = self._clock()
        for lease in [lease for lease, held in self._leases.items() if held.ends <= now]:
            self._end(lease)

    def _end(self, lease: int) -> None:
        if self._leases.pop(lease, None) is not None:
            keys = sorted(key for key, stored in self._keys.items() if stored.lease == lease)
            self._apply([Delete(key) for key in keys])

    def _wake(self) -> None:
        """Watches that wait hold the old event; later ones find the new."""
        self._news.set()
        self._news = asyncio.Event()

    async def _wait(self, news: asyncio.Event) -> None:
        """For the next change, or the next lease to end."""
        ends = min((held.ends for held in self._leases.values()), default=None)
        seconds = None if ends is None else ends - self._clock()
        try:
            async with asyncio.timeout(seconds):
                await news.wait()
        except TimeoutError:
            return
