"""A watch that outlives the server it began on.

One stream at a time; when it ends, the next begins after the last revision that was seen whole.
Nothing is yielded from a revision of which a part is still to come, so a stream that dies in
the middle of one costs only the part.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import grpc

from fleet.etcd import rpc_pb2 as rpc
from fleet_controller.store.etcd.member import REQUIRE_LEADER, Member, send
from fleet_controller.store.etcd.members import Members
from fleet_controller.store.etcd.wire import Keyspace
from fleet_controller.store.port import Change, Compacted, StoreReplaced, Unavailable

Stream = grpc.aio.StreamStreamCall[rpc.WatchRequest, rpc.WatchResponse]

# Before the next stream when one ended though its connection is up (no quorum, no permission).
PAUSE_SECONDS = 0.5
# For the question whether the history is still there.
CHECK_SECONDS = 5.0


class EtcdWatch:
    """The changes under a prefix after a revision; `seen` is up to where they are delivered."""

    def __init__(self, members: Members, keyspace: Keyspace, prefix: str, after: int) -> None:
        self._members = members
        self._keyspace = keyspace
        self._prefix = prefix
        self.seen = after

    async def batches(self) -> AsyncIterator[tuple[Change, ...]]:
        """See Store.watch. Raises Compacted, StoreReplaced; ends when the store is closed."""
        while not self._members.closed:
            try:
                member = await self._members.wait_connected()
                async with aclosing(self._stream(member)) as batches:
                    async for batch in batches:
                        yield batch
            except grpc.aio.AioRpcError as error:
                self._refuse_lost_history(error)
            except asyncio.CancelledError:
                if self._cancelled_from_outside():
                    raise
                return
            except Unavailable:
                return  # closed meanwhile
            refused = member.connected
            self._members.pass_turn(member)
            if refused:
                await asyncio.sleep(PAUSE_SECONDS)

    async def _stream(self, member: Member) -> AsyncGenerator[tuple[Change, ...], None]:
        """Until the server ends it."""
        await self._check_history(member)
        stream: Stream = member.watches.Watch(metadata=REQUIRE_LEADER)
        try:
            await send(stream, self._request())
            parts: list[rpc.Event] = []
            async for response in stream:
                self._members.accept(response)
                if response.compact_revision:
                    raise Compacted(response.compact_revision)
                if response.canceled:
                    return
                parts.extend(response.events)
                if response.created or response.fragment:
                    continue
                if not parts:
                    # A progress report: everything up to its revision has been sent.
                    self.seen = max(self.seen, response.header.revision)
                elif batch := self._keyspace.changes(parts, self.seen):
                    self.seen = batch[-1].mod_revision
                    yield batch
                parts.clear()
        finally:
            stream.cancel()

    def _request(self) -> rpc.WatchRequest:
        """Fragments keep a long backlog below the limit of one message."""
        first, end = self._keyspace.span(self._prefix)
        create = rpc.WatchCreateRequest(
            key=first,
            range_end=end,
            start_revision=self.seen + 1,
            progress_notify=True,
            fragment=True,
        )
        return rpc.WatchRequest(create_request=create)

    async def _check_history(self, member: Member) -> None:
        """Ask for the state as of `seen`; an error where it is compacted or yet to come.

        etcd itself would start a watch at the very revision it compacted to, though a deletion
        made there is gone from its history; and one that starts in the future it lets wait.
        """
        request = self._keyspace.page(self._prefix, b"", 1, self.seen, count_only=True)
        floor = self._members.revision
        answer = await member.kv.Range(request, timeout=CHECK_SECONDS)
        self._members.accept_newest(answer, floor)

    def _refuse_lost_history(self, error: grpc.aio.AioRpcError) -> None:
        if error.code() is not grpc.StatusCode.OUT_OF_RANGE:
            return
        if "compacted" in (error.details() or ""):
            raise Compacted(self.seen + 1) from error
        raise StoreReplaced(
            f"etcd at {self._members.addresses} is behind revision {self.seen}, which it had"
            " reached before: it was restored from an older state"
        ) from error

    def _cancelled_from_outside(self) -> bool:
        """Whether it is the caller who ends the wait, and not the store being closed."""
        task = asyncio.current_task()
        return not self._members.closed or (task is not None and task.cancelling() > 0)
