"""Writing decisions to the store: in transactions that hold only while this leader leads.

Each compares the leader's key, the revision every key was decided from, and that of META. When
one does not hold the store is read again before anything else is decided.

A transaction whose answer was lost may still be applied later, when something else has been
decided from a store without it. So before the next write META is written anew, which makes the
guards of every earlier transaction fail; what is read after that is certain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from fleet_controller.mirror.records import Write, put_meta
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store.keys import (
    AUDIT,
    DENIED,
    EVENTS,
    FREEZE,
    HOSTS,
    META,
    PEOPLE,
    ROLES,
    SEAL,
)
from fleet_controller.store.port import (
    MAX_TXN_BYTES,
    MAX_TXN_OPS,
    Guard,
    Put,
    Store,
    StoreError,
    Unavailable,
    UnknownOutcome,
)

# Of one transaction: each has a guard, and so have the leader's key and META.
MAX_WRITES = MAX_TXN_OPS - 2
# A few at once hide the store's latency; more only queue behind its log.
_IN_FLIGHT = 3


# What may be written while changes are frozen: hosts announce themselves, people get roles or are
# denied, and why it is so; and what is told of it.
_WHILE_FROZEN = (HOSTS, AUDIT, DENIED, PEOPLE, ROLES, EVENTS, FREEZE, META, SEAL)


class Outdated(Exception):
    """What was decided no longer fits the store; the state has been read anew."""


class Frozen(Outdated):
    """Changes are frozen: nothing but recovery decides anything now."""


class Committer:
    """Writes for one leadership. `alive` raises when the lease may be gone. `max_writes`: of one
    transaction."""

    def __init__(
        self,
        store: Store,
        state: ClusterState,
        guard: Guard,
        alive: Callable[[], None],
        max_writes: int = MAX_WRITES,
    ) -> None:
        self._store = store
        self._state = state
        self._guard = guard
        self._alive = alive
        self.max_writes = max_writes
        self._in_doubt = False
        self._settling = asyncio.Lock()
        self.transactions = 0

    async def write(self, writes: Sequence[Write], *, thawing: bool = False) -> None:
        """All writes, as few transactions as will hold them. Raises Outdated, StoreError.
        `thawing`: by recovery, which alone changes things while changes are frozen.

        When one transaction fails, those under way are finished and no further one is begun.
        """
        gate = asyncio.Semaphore(_IN_FLIGHT)
        failures: list[Exception] = []

        async def guarded(part: Sequence[Write]) -> None:
            async with gate:
                if not failures:
                    try:
                        await self.write_one(part, thawing=thawing)
                    except Exception as error:
                        failures.append(error)

        async with asyncio.TaskGroup() as group:
            for part in parts(writes, self.max_writes):
                group.create_task(guarded(part))
        if failures:
            raise failures[0]

    async def write_one(self, writes: Sequence[Write], *, thawing: bool = False) -> None:
        """One transaction. Raises Outdated, StoreError; UnknownOutcome only where the store
        could not be asked afterwards."""
        self._alive()
        if self._state.freeze and not thawing:
            refuse_while_frozen(writes, self._state.freeze.reason)
        if self._in_doubt:
            await self._settle()
            raise Outdated("this was decided while an earlier write was in doubt")
        self.transactions += 1
        before = {write.key: self._state.mod_revision(write.key) for write in writes}
        try:
            result = await self._store.txn(self._guards(writes), list(writes))
        except asyncio.CancelledError:
            self._in_doubt = True
            raise
        except UnknownOutcome as lost:
            self._in_doubt = True
            return await self._find_out(writes, before, lost)
        if not result.applied:
            await self.read_again()
            raise Outdated("the store has changed since this was decided")
        self._state.written(writes, result.revision)

    async def read_again(self) -> None:
        """Take over the store as it is. Raises StoreError."""
        self._state.load(await self._store.read())

    def refuse_if_past(self, revision: int) -> None:
        """For what was decided from this revision of the state. Raises Outdated."""
        if self._state.revision > revision:
            raise Outdated("the store has changed while this was being decided")

    def _guards(self, writes: Sequence[Write]) -> list[Guard]:
        guarded = dict.fromkeys([META, *(write.key for write in writes)])
        revisions = [Guard(key, mod_revision=self._state.mod_revision(key)) for key in guarded]
        return [self._guard, *revisions]

    async def _find_out(
        self, writes: Sequence[Write], before: Mapping[str, int], lost: UnknownOutcome
    ) -> None:
        """Return when the writes are in the store after all. What is written may be what was there:
        then it is its revision that tells. `before`: those that the keys had."""
        try:
            await self._settle()
            entries = (await self._store.read()).entries
        except (StoreError, Outdated):
            raise lost from None
        there = {
            entry.key: entry.value
            for entry in entries
            if entry.mod_revision != before.get(entry.key, 0)
        }
        left = {entry.key for entry in entries}
        if any(
            there.get(w.key) != w.value if isinstance(w, Put) else w.key in left for w in writes
        ):
            raise Unavailable(str(lost)) from lost

    async def _settle(self) -> None:
        """Let nothing sent before take effect any more, and read what did.

        Raises StoreError, Outdated; the doubt remains then.
        """
        async with self._settling:
            if not self._in_doubt:
                return
            if META in self._state.broken:
                raise Unavailable(self._state.broken.why(META))
            fence = put_meta(self._state.meta)
            result = await self._store.txn(self._guards([fence]), [fence])
            if result.applied:
                self._state.written([fence], result.revision)
            await self.read_again()
            if not result.applied:
                raise Outdated("the store has changed since it was last read")
            self._in_doubt = False


def refuse_while_frozen(writes: Sequence[Write], reason: str) -> None:
    """Raises Frozen for what must wait."""
    for write in writes:
        if not write.key.startswith(_WHILE_FROZEN):
            raise Frozen(f"changes are frozen: {reason}")


def parts(writes: Sequence[Write], most: int = MAX_WRITES) -> list[list[Write]]:
    """Cut so that each part, with its guards, fits one transaction of at most so many writes."""
    cut: list[list[Write]] = [[]]
    size = 0
    for write in writes:
        more = 2 * len(write.key) + (len(write.value) if isinstance(write, Put) else 0) + 32
        if len(cut[-1]) == most or size + more > MAX_TXN_BYTES - 1024:
            cut.append([])
            size = 0
        cut[-1].append(write)
        size += more
    return [part for part in cut if part]
