"""The store in etcd, spoken to by its own v3 API.

One connection serves all calls. Times out and fails over by itself; says Unavailable only where
nothing can have been written, and UnknownOutcome wherever a write may have arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import grpc

from fleet.etcd import rpc_pb2 as rpc
from fleet.transport import Identity
from fleet_controller.store import transaction
from fleet_controller.store.etcd.member import FULL, PASSING, Member, explain, send
from fleet_controller.store.etcd.members import Members
from fleet_controller.store.etcd.snapshot import pieces
from fleet_controller.store.etcd.watch import EtcdWatch
from fleet_controller.store.etcd.wire import Keyspace
from fleet_controller.store.health import StoreHealth
from fleet_controller.store.keys import LEADER
from fleet_controller.store.port import (
    Change,
    Delete,
    Entry,
    Full,
    Guard,
    InvalidTransaction,
    LeaseLost,
    Put,
    Snapshot,
    SnapshotPart,
    StoreError,
    TxnResult,
    Unavailable,
    UnknownOutcome,
)

DEFAULT_PREFIX = "/megafleet/"
# etcd itself gives up a proposal after 7 s (5 s and two election timeouts).
DEADLINE_SECONDS = 5.0
# A page holds this many keys, or so few that the largest values fit into one message.
PAGE_KEYS = 2_000
SAFE_PAGE_KEYS = 32

# Answers to a transaction that say that nothing of it was applied.
_REFUSALS = frozenset(
    {
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


class EtcdStore:
    """See port.Store. Made by `connect`, inside a running loop."""

    durable = True

    def __init__(self, members: Members, keyspace: Keyspace, deadline: float) -> None:
        self._members = members
        self._keyspace = keyspace
        self._deadline = deadline

    @classmethod
    async def connect(
        cls,
        endpoints: Sequence[str],
        *,
        prefix: str = DEFAULT_PREFIX,
        identity: Identity | None = None,
        deadline: float = DEADLINE_SECONDS,
    ) -> EtcdStore:
        """Endpoints are `host:port` or URLs; without an identity they are spoken to in the
        clear. `deadline`: seconds for each call. An etcd with authentication takes the user's
        name from the certificate.

        Raises ValueError for a malformed endpoint or prefix, Unavailable when none answers.
        """
        keyspace = Keyspace(prefix)
        members = Members(endpoints, identity)
        store = cls(members, keyspace, deadline)
        try:
            await members.connected(store._until())
        except BaseException:
            await members.close()
            raise
        return store

    @property
    def description(self) -> str:
        return f"etcd {self._members.version} at {self._members.addresses}"

    async def read(self, prefix: str = "") -> Snapshot:
        until = self._until()
        limit = PAGE_KEYS
        while True:
            try:
                return await self._read(prefix, limit, until)
            except grpc.aio.AioRpcError as error:
                too_large = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                compacted = error.code() is grpc.StatusCode.OUT_OF_RANGE
                if too_large and limit != SAFE_PAGE_KEYS:
                    limit = SAFE_PAGE_KEYS
                elif not compacted:
                    raise self._unavailable(error) from error

    async def _read(self, prefix: str, limit: int, until: float) -> Snapshot:
        """All pages as of the first one's revision."""
        entries: list[Entry] = []
        start, revision = b"", 0
        while True:
            page = await self._page(self._keyspace.page(prefix, start, limit, revision), until)
            revision = revision or page.header.revision
            entries.extend(map(self._keyspace.entry, page.kvs))
            if not page.more:
                return Snapshot(tuple(entries), revision, self._members.cluster)
            start = page.kvs[-1].key + b"\0"

    async def _page(self, request: rpc.RangeRequest, until: float) -> rpc.RangeResponse:
        async def ask(member: Member, seconds: float) -> rpc.RangeResponse:
            return await member.kv.Range(request, timeout=seconds)

        return await self._members.ask_newest(until, ask)

    async def txn(self, guards: Sequence[Guard], writes: Sequence[Put | Delete]) -> TxnResult:
        """Also raises LeaseLost for a Put on a lease that is gone: nothing is written."""
        transaction.check(guards, writes)
        request = self._keyspace.txn(guards, writes)
        until = self._until()
        member = await self._members.connected(until)
        seconds = until - asyncio.get_running_loop().time()
        floor = self._members.revision
        try:
            answer = await member.kv.Txn(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            if error.code() in PASSING:
                self._members.pass_turn(member)
            raise self._outcome(error) from error
        self._members.accept_newest(answer, floor)
        return TxnResult(answer.succeeded, answer.header.revision)

    def _outcome(self, error: grpc.aio.AioRpcError) -> StoreError:
        """What a failed txn means for what is stored."""
        code = error.code()
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidTransaction(f"etcd refuses the txn: {explain(error)}")
        if code is grpc.StatusCode.NOT_FOUND:
            return LeaseLost("the lease of a write is gone")
        if code in _REFUSALS:
            return self._unavailable(error)
        return UnknownOutcome(
            f"etcd at {self._members.addresses} did not confirm a txn: {explain(error)}"
        )

    def watch(self, prefix: str, after: int) -> AsyncIterator[tuple[Change, ...]]:
        """Also raises StoreReplaced."""
        return EtcdWatch(self._members, self._keyspace, prefix, after).batches()

    async def grant(self, ttl_seconds: int) -> int:
        async def ask(member: Member, seconds: float) -> rpc.LeaseGrantResponse:
            return await member.leases.LeaseGrant(
                rpc.LeaseGrantRequest(TTL=ttl_seconds), timeout=seconds
            )

        try:
            return (await self._members.ask(self._until(), ask)).ID
        except grpc.aio.AioRpcError as error:
            raise self._unavailable(error) from error

    async def keep_alive(self, lease: int) -> int:
        async def ask(member: Member, seconds: float) -> rpc.LeaseKeepAliveResponse:
            stream = member.leases.LeaseKeepAlive(timeout=seconds)
            try:
                await send(stream, rpc.LeaseKeepAliveRequest(ID=lease))
                await stream.done_writing()
                async for answer in stream:
                    return answer
            finally:
                stream.cancel()
            raise Unavailable(f"etcd at {member.address} ended a keep-alive without an answer")

        try:
            answer = await self._members.ask(self._until(), ask)
        except grpc.aio.AioRpcError as error:
            raise self._unavailable(error) from error
        if answer.TTL <= 0:
            raise LeaseLost(f"lease {lease:x} has expired or was revoked")
        return answer.TTL

    async def revoke(self, lease: int) -> None:
        """Raises Unavailable: it may be gone all the same."""

        async def ask(member: Member, seconds: float) -> rpc.LeaseRevokeResponse:
            return await member.leases.LeaseRevoke(
                rpc.LeaseRevokeRequest(ID=lease), timeout=seconds
            )

        try:
            await self._members.ask(self._until(), ask)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise self._unavailable(error) from error

    async def compact(self, revision: int) -> None:
        """Forget the history before this revision. Not part of the port: whoever runs etcd has
        it compact by itself. Raises Unavailable."""

        async def ask(member: Member, seconds: float) -> rpc.CompactionResponse:
            return await member.kv.Compact(
                rpc.CompactionRequest(revision=revision), timeout=seconds
            )

        try:
            await self._members.ask(self._until(), ask)
        except grpc.aio.AioRpcError as error:
            raise self._unavailable(error) from error

    def copy(self) -> AsyncGenerator[SnapshotPart, None]:
        """etcd's snapshot, of all its keys, whoever's they are: its database and the SHA-256 of
        that, as `etcdctl snapshot save` writes it. Also raises StoreReplaced."""
        return pieces(self._members, self._keyspace, self._deadline)

    async def health(self) -> StoreHealth:
        members = await self._members.health()
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            probe = self._keyspace.page(LEADER, b"", 1, 0, count_only=True)
            await self._page(probe, self._until())
        except StoreError as error:
            return StoreHealth(members, None, str(error))
        except grpc.aio.AioRpcError as error:
            return StoreHealth(members, None, explain(error))
        return StoreHealth(members, loop.time() - started)

    async def close(self) -> None:
        await self._members.close()

    def _until(self) -> float:
        return asyncio.get_running_loop().time() + self._deadline

    def _unavailable(self, error: grpc.aio.AioRpcError) -> Unavailable:
        kind = Full if FULL in (error.details() or "") else Unavailable
        return kind(f"etcd at {self._members.addresses} refuses: {explain(error)}")
