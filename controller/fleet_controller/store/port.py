"""The Store port: a small ordered key-value store with revisions, watches and leases.

Semantics are etcd's. Every change of any key raises the store's revision by one per
transaction; a key remembers the revision that created it and the one that last wrote it.

- A transaction is all or nothing. It is applied only when all its guards hold.
- A write whose answer is lost raises UnknownOutcome: it may or may not have been applied.
  The caller re-reads before it decides anything.
- A watch delivers every change after a revision, in order, each once, across restarts of the
  store; where history has been compacted away it raises Compacted, and the caller reads anew.
- A lease lives while it is kept alive; keys bound to it go when it ends.

All calls end within the adapter's deadline; none blocks the event loop.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from fleet_controller.store.health import StoreHealth

# etcd's own default (--max-txn-ops): guards and writes of one txn are limited separately.
MAX_TXN_OPS = 128
# Below etcd's --max-request-bytes of 1.5 MiB, with room for guards and framing.
MAX_TXN_BYTES = 1_000_000


class StoreError(Exception):
    """Something about the store failed; the message is one sentence."""


class Unavailable(StoreError):
    """The store cannot be reached, has no quorum, or is full. Retry later. Nothing was written."""


class Full(Unavailable):
    """The store is up and takes no writes for want of space, until an operator mends it."""


class UnknownOutcome(StoreError):
    """A write was sent and its answer lost. Re-read before deciding."""


class Compacted(StoreError):
    """The history asked for is gone; read a fresh snapshot. `revision`: oldest that is kept."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"history before revision {revision} has been compacted")
        self.revision = revision


class LeaseLost(StoreError):
    """The lease has expired or was revoked."""


class StoreReplaced(StoreError):
    """Another store answers, or this one was set back to an older state. Open it anew to go on."""


class InvalidTransaction(StoreError):
    """Too many operations or bytes: a mistake of the caller, never retried."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key as of some revision."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All entries under a prefix, sorted by key, as of one revision.

    `cluster` names the store itself: it changes only when the store was replaced.
    """

    entries: tuple[Entry, ...]
    revision: int
    cluster: str


@dataclass(frozen=True, slots=True)
class Guard:
    """Holds when the key's mod_revision (or create_revision) is this one; 0: key absent."""

    key: str
    mod_revision: int | None = None
    create_revision: int | None = None


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    key: str


@dataclass(frozen=True, slots=True)
class TxnResult:
    """`applied` is False when a guard did not hold; `revision` is the store's afterwards."""

    applied: bool
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """One change seen by a watch; `value` is None for a deletion."""

    key: str
    value: bytes | None
    create_revision: int
    mod_revision: int


class Store(Protocol):
    """See the module's text for what each adapter guarantees. Keys carry no prefix here: the
    adapter adds its own, so that several clusters can share an etcd."""

    @property
    def durable(self) -> bool:
        """Whether what was acknowledged survives a restart of everything."""

    @property
    def description(self) -> str:
        """For people: "etcd 3.5.16 at 127.0.0.1:2379", "memory (not durable)"."""

    async def read(self, prefix: str = "") -> Snapshot:
        """All keys under the prefix, linearizable, paged under one revision as needed.

        Raises Unavailable.
        """

    async def txn(self, guards: Sequence[Guard], writes: Sequence[Put | Delete]) -> TxnResult:
        """Apply all writes when all guards hold. At most MAX_TXN_OPS guards, as many writes,
        and MAX_TXN_BYTES in all; each key is written once.

        Raises InvalidTransaction, Unavailable, UnknownOutcome.
        """

    def watch(self, prefix: str, after: int) -> AsyncIterator[tuple[Change, ...]]:
        """Changes with mod_revision > `after`, in revision order, in batches that never split a
        transaction. Reconnects by itself; ends only by cancellation or Compacted.
        """

    async def grant(self, ttl_seconds: int) -> int:
        """A new lease's id (never 0). Raises Unavailable."""

    async def keep_alive(self, lease: int) -> int:
        """Renew once; the TTL in seconds that it has again. Raises LeaseLost, Unavailable."""

    async def revoke(self, lease: int) -> None:
        """End the lease and delete its keys; a lease already gone is no error."""

    async def health(self) -> StoreHealth:
        """How its members are, asked one by one beside whatever else goes on. What does not
        answer is said in the answer; nothing is raised."""

    async def close(self) -> None:
        """Release connections. Watches end."""


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """Bits of a snapshot, in order; `left`: how many bytes come after them."""

    data: bytes
    left: int


@runtime_checkable
class Copied(Protocol):
    """A store that can hand out a copy of itself. One in memory cannot: nothing could read it."""

    def copy(self) -> AsyncGenerator[SnapshotPart, None]:
        """The store's own snapshot, whole and checked by whoever restores it: as of a revision
        that is not older than any confirmed before the call. Raises Unavailable."""
