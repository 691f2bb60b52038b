"""A standby's answers: what is asked of it is passed on to the leader, and the answer back.

Messages pass as bytes, whatever the method: one handler serves all of them, also those that are
added later. The standby has checked the caller's certificate and tells the leader whose it was,
which believes that of controllers alone. A call that was passed on once is not passed on again, so
that replicas who take each other for the leader do not send it in circles.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from fleet.changes.change_deadline import CHANGE_DEADLINE_METADATA
from fleet.changes.change_id import CHANGE_METADATA
from fleet.endpoints import target
from fleet.peers import NoRole, peer_of
from fleet.service import Context, no_role
from fleet.serving.gate import REQUEST_SECONDS
from fleet.transport import (
    CALLER_METADATA,
    CONTROLLER_NAME,
    ERROR_METADATA,
    READ_ONLY_METADATA,
    TAKEN_METADATA,
    Credentials,
    Refusal,
    Role,
    abort,
    channel_options,
)
from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.election.leader_key import Holder
from fleet_controller.replica.leader_refusals import elsewhere, gone, silent
from fleet_controller.replica.replica import Replica
from fleet_controller.replica.shared_states import SharedStates

# A leader that accepts no connection for this long is not waited for: the caller is told where it
# is, and may reach it.
CONNECT_SECONDS = 2.0
# A leader that comes back at its address is found again within this.
_RECONNECT_MS = 1_000
# Calls over a connection that was made with a former certificate end by themselves, or then: a
# standby that is at hand begins anew.
_LAST_CALLS_SECONDS = 3_600.0
# Of the leader's metadata, what is meant for the caller.
_MEANT_FOR_CALLERS = (ERROR_METADATA, READ_ONLY_METADATA, TAKEN_METADATA)
_OF_THE_CHANGE = (CHANGE_DEADLINE_METADATA, CHANGE_METADATA)
# What ends a call without a word of the leader's. INTERNAL is gRPC's own: also for a message that
# could no longer be written.
_BROKEN = (
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
)  # fmt: skip

_READY = grpc.ChannelConnectivity.READY
_FAILED = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)

# Frames of it are the same for all who ask for the same ones.
_SHARED = "WatchStates"
_UNREADABLE = Refusal(
    grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST", "what is asked for cannot be read"
)

Call = grpc.aio.UnaryStreamCall[bytes, bytes] | grpc.aio.StreamStreamCall[bytes, bytes]
# What the leader, or this replica, ends a call with; None: all was answered.
Ending = grpc.aio.AioRpcError | Refusal | None
# Sends a caller what there is, given the channel to the leader and the call to it in their name.
Answers = Callable[[grpc.aio.Channel, Call, Context], Coroutine[Any, Any, Ending]]


class LeaderChannel:
    """One connection to whoever leads, made when it is first needed and kept."""

    def __init__(self, identity: Credentials) -> None:
        self._identity = identity
        self._made_with: grpc.ChannelCredentials | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._address = ""
        self._channel: grpc.aio.Channel | None = None

    async def connected(self, address: str) -> grpc.aio.Channel:
        """With a connection that is up: as long as there is none, nothing was sent. Raises
        ConnectionError."""
        channel = await self._to(address)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                while (state := channel.get_state(try_to_connect=True)) is not _READY:
                    if state in _FAILED:
                        raise ConnectionError(address)
                    await channel.wait_for_state_change(state)
        except TimeoutError as error:
            raise ConnectionError(address) from error
        return channel

    async def _to(self, address: str) -> grpc.aio.Channel:
        credentials = self._identity.for_channel()
        moved = address != self._address
        if self._channel is None or moved or credentials is not self._made_with:
            old, self._address, self._made_with = self._channel, address, credentials
            options = [
                *(one for one in channel_options(CONTROLLER_NAME) if "backoff" not in one[0]),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", _RECONNECT_MS),
            ]
            self._channel = grpc.aio.secure_channel(target(address), credentials, options)
            if old is not None and moved:
                await old.close()
            elif old is not None:  # with another certificate: calls of the former go on
                self._close_late(old)
        return self._channel

    def _close_late(self, channel: grpc.aio.Channel) -> None:
        closing = asyncio.create_task(channel.close(_LAST_CALLS_SECONDS))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        for closing in list(self._closing):
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()


class Forwarding(grpc.aio.ServerInterceptor):
    """Takes the calls of one service while another replica leads."""

    def __init__(
        self, replica: Replica, channel: LeaderChannel, service: str, own: Iterable[str]
    ) -> None:
        """`own`: methods of the service that every replica answers for itself."""
        self._of_one_message = _of_one_message(service)
        self._replica = replica
        self._leader = channel
        self._prefix = f"/{service}/"
        self._states = SharedStates()
        self._own = frozenset(self._prefix + name for name in own)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method = str(handler_call_details.method)
        leader = self._replica.other_leader
        if leader is None or not method.startswith(self._prefix) or method in self._own:
            return await continuation(handler_call_details)

        async def passed_on(requests: AsyncIterator[bytes], context: Context) -> None:
            await self._pass_on(method, leader, requests, context, _pass_answers)

        async def shared(requests: AsyncIterator[bytes], context: Context) -> None:
            try:
                asked = cluster.WatchStatesRequest.FromString(await anext(requests, b""))
            except DecodeError:
                await abort(context, _UNREADABLE)
            answers = partial(self._states.answers, asked, leader)
            await self._pass_on(method, leader, _admission(asked), context, answers)

        # On the wire a call with one message is a stream of one.
        is_shared = method == self._prefix + _SHARED
        return grpc.stream_stream_rpc_method_handler(shared if is_shared else passed_on)

    async def _pass_on(
        self,
        method: str,
        leader: Holder,
        requests: AsyncIterator[bytes],
        context: Context,
        answers: Answers,
    ) -> None:
        try:
            caller = peer_of(context.auth_context())
        except NoRole as why:
            await abort(context, no_role(why))
        if caller.role is Role.CONTROLLER:
            await abort(context, elsewhere(leader))
        try:
            channel = await self._leader.connected(leader.address)
        except ConnectionError:
            await abort(context, silent(leader))
        metadata = ((CALLER_METADATA, str(caller)), *_of_the_change(context))
        call: Call
        if method in self._of_one_message:
            # With the message in it: where a leader refuses at once, what is written afterwards
            # fails, and gRPC forgets over that what the leader has said.
            request = await _only(requests, method, context)
            left = context.time_remaining()
            begin: Any = channel.unary_stream(method)
            call = begin(request, metadata=metadata, timeout=left)
            asking = None
        else:
            left = context.time_remaining()
            call = channel.stream_stream(method)(metadata=metadata, timeout=left)
            asking = asyncio.create_task(_pass_requests(requests, call))
        try:
            passing = asyncio.create_task(answers(channel, call, context))
            await self._until_answered(leader, asking, passing, context)
        finally:
            call.cancel()

    async def _until_answered(
        self,
        leader: Holder,
        asking: asyncio.Task[None] | None,
        answering: asyncio.Task[Ending],
        context: Context,
    ) -> None:
        """Until the leader has ended the call, or leads no more; then nothing is passed on, neither
        by who asks (None: all was) nor by who answers."""
        ceasing = asyncio.create_task(self._replica.until_leader_is_not(leader.term))
        tasks = [answering, ceasing, *filter(None, (asking,))]
        try:
            await asyncio.wait({answering, ceasing}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() or answering.cancelled():
                await abort(context, gone(leader))
            error = answering.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(error, Refusal):
            await abort(context, error)
        if error is not None:
            await _abort_alike(error, leader, context)


def _of_one_message(service: str) -> frozenset[str]:
    """Methods whose callers send one message, of those that are known here. Of others, which a
    newer leader has, callers may send many."""
    known = cluster.DESCRIPTOR.services_by_name.get(service.rpartition(".")[2])
    methods = known.methods if known is not None and known.full_name == service else ()
    return frozenset(f"/{service}/{one.name}" for one in methods if not one.client_streaming)


async def _only(requests: AsyncIterator[bytes], method: str, context: Context) -> bytes:
    """The one message of the call; without one it ends."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            request = await anext(requests, None)
    except TimeoutError:
        request = None
    if request is None:
        name = method.rpartition("/")[2]
        message = f"the call of {name} did not send its message"
        await abort(context, Refusal(grpc.StatusCode.INVALID_ARGUMENT, "BAD_MESSAGE", message))
    return request


def _of_the_change(context: Context) -> list[tuple[str, str | bytes]]:
    """Its deadline and its id as the caller sent them: the leader judges both."""
    metadata = context.invocation_metadata() or ()
    return [(key, value) for key, value in metadata if key in _OF_THE_CHANGE]


async def _pass_requests(
    requests: AsyncIterator[bytes], call: grpc.aio.StreamStreamCall[bytes, bytes]
) -> None:
    # A call that has ended tells why when it is read.
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        async for request in requests:
            await call.write(request)
        await call.done_writing()


async def _admission(asked: cluster.WatchStatesRequest) -> AsyncIterator[bytes]:
    request = cluster.WatchStatesRequest(
        layer=asked.layer, grouping=asked.grouping, admission_only=True
    )
    yield request.SerializeToString()


async def _pass_answers(channel: grpc.aio.Channel, call: Call, context: Context) -> Ending:
    """All answers."""
    try:
        if first := _meant(await call.initial_metadata()):
            await context.send_initial_metadata(first)
        while (answer := await call.read()) is not grpc.aio.EOF:
            await context.write(answer)
        context.set_trailing_metadata(_meant(await call.trailing_metadata()))
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def _abort_alike(error: grpc.aio.AioRpcError, leader: Holder, context: Context) -> NoReturn:
    trailing = _meant(error.trailing_metadata())
    if error.code() in _BROKEN and not any(key == ERROR_METADATA for key, _ in trailing):
        await abort(context, gone(leader))
    await context.abort(error.code(), error.details() or "", trailing)
    raise AssertionError("abort returned")


def _meant(metadata: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((key, value) for key, value in metadata or () if key in _MEANT_FOR_CALLERS)
