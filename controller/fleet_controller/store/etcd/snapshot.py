"""etcd's own snapshot of one member, bit by bit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import grpc

from fleet.etcd import rpc_pb2 as rpc
from fleet_controller.store.etcd.member import Member, explain
from fleet_controller.store.etcd.members import Members
from fleet_controller.store.etcd.wire import Keyspace
from fleet_controller.store.port import SnapshotPart, Unavailable

# etcd sends 32 KiB at once, as fast as they are read; a member that is silent so long is gone.
SILENCE_SECONDS = 20.0
# What etcd sends after the database, and does not count among what is left.
DIGEST_BYTES = 32

Stream = grpc.aio.UnaryStreamCall[rpc.SnapshotRequest, rpc.SnapshotResponse]


async def pieces(
    members: Members, keyspace: Keyspace, deadline: float
) -> AsyncGenerator[SnapshotPart, None]:
    """The snapshot of the member whose turn it is. Raises Unavailable, StoreReplaced.

    A member hands out what it has applied, and it may be behind: so it is made to answer a
    linearizable read before, which it does once it has caught up.
    """
    until = asyncio.get_running_loop().time() + deadline
    member = await members.connected(until)
    try:
        floor = members.revision
        read = keyspace.page("", b"", 1, 0, count_only=True)
        members.accept_newest(await member.kv.Range(read, timeout=deadline), floor)
        stream: Stream = member.maintenance.Snapshot(rpc.SnapshotRequest())
        try:
            while (answer := await _next(stream, member)) is not None:
                yield _part(answer)
        finally:
            stream.cancel()
    except grpc.aio.AioRpcError as error:
        members.pass_turn(member)
        raise Unavailable(_why(member, error)) from error


def _part(answer: rpc.SnapshotResponse) -> SnapshotPart:
    is_digest = len(answer.blob) == DIGEST_BYTES and not answer.remaining_bytes
    return SnapshotPart(answer.blob, answer.remaining_bytes + (0 if is_digest else DIGEST_BYTES))


async def _next(stream: Stream, member: Member) -> rpc.SnapshotResponse | None:
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            answer = await stream.read()
    except TimeoutError as error:
        raise Unavailable(
            f"etcd at {member.address} sent nothing of its snapshot for {SILENCE_SECONDS:.0f} s"
        ) from error
    return answer if isinstance(answer, rpc.SnapshotResponse) else None


def _why(member: Member, error: grpc.aio.AioRpcError) -> str:
    if error.code() is grpc.StatusCode.PERMISSION_DENIED:
        return (
            f"etcd at {member.address} gives its snapshot to users of the role root alone, and "
            "this controller's is none: 'fleetctl backup FILE --etcd-root' takes it where "
            "'fleetctl cluster init' was run, or 'etcdctl snapshot save'"
        )
    return f"etcd at {member.address} gives no snapshot: {explain(error)}"
