"""What stands before every call of a server: who may call, then how much, and only then what.

A call is judged by its certificate and its method before a byte of its message is read: whoever
may not call, or has too many calls under way, costs a stream and no parsing. What remains is
bounded by the method's own rule, and parsed here, so that a message that is none is answered with
one sentence. To gRPC all calls are streams of bytes: on the wire a call with one message is a
stream of one, and gRPC reads no message of a stream before it is asked for.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError

from fleet.service import Context
from fleet.serving.call_counts import CallCounts
from fleet.transport import Peer, Refusal, Role, abort

KIB = 1024
# What nearly all requests fit in many times over: an announcement with 64 labels has some 20 KiB.
ORDINARY_BYTES = 64 * KIB
# A caller that has begun a call sends its one message within this.
REQUEST_SECONDS = 20.0
_RULE = "_rule"
_Method = TypeVar("_Method", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Rule:
    """Of one method. `roles`: all that some request of it is open to. `max_bytes`: of each of its
    messages. `long`: it may last as long as its caller likes, as every stream may."""

    roles: frozenset[Role] = frozenset(Role)
    max_bytes: int = ORDINARY_BYTES
    long: bool = False

    @property
    def weight(self) -> int:
        """As how many calls one counts: what is read at once stays bounded."""
        return -(-self.max_bytes // ORDINARY_BYTES)


# Health, reflection, and what a standby passes on without knowing it: the leader judges that.
OTHERS = Rule(long=True)
Admit = Callable[[Context, Rule], Peer]


def ruled(rule: Rule) -> Callable[[_Method], _Method]:
    """Gives a method of a service its rule."""

    def mark(method: _Method) -> _Method:
        setattr(method, _RULE, rule)
        return method

    return mark


def rules_of(servicer: object, service: ServiceDescriptor) -> dict[str, Rule]:
    """By the methods' names on the wire. Raises TypeError naming a method without a rule."""
    rules: dict[str, Rule] = {}
    for method in service.methods:
        rule = getattr(getattr(servicer, method.name), _RULE, None)
        if rule is None:
            raise TypeError(f"{method.name} of {service.name} has no rule of who may call it")
        streams = method.client_streaming or method.server_streaming
        rules[f"/{service.full_name}/{method.name}"] = replace(rule, long=rule.long or streams)
    return rules


def longest_request(rules: Mapping[str, Rule]) -> int:
    """Bytes of the largest message that any rule allows."""
    return max(rule.max_bytes for rule in [OTHERS, *rules.values()])


class Gate(grpc.aio.ServerInterceptor):
    """The first interceptor of a server: it wraps what all others answer with."""

    def __init__(self, rules: Mapping[str, Rule], admit: Admit, counts: CallCounts) -> None:
        """`admit` names the caller of a method with this rule, or raises Refusal."""
        self._rules = rules
        self._admit = admit
        self._counts = counts

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        name = str(handler_call_details.method)
        rule = self._rules.get(name, OTHERS)
        if handler.request_deserializer is None:
            # Passed on, or refused, without being read: whoever reads it knows the roles.
            rule = replace(rule, roles=frozenset(Role))
        answer = _answering(handler, _Reader(name.rpartition("/")[2], rule, handler))

        async def gated(requests: AsyncIterator[bytes], context: Context) -> Any:
            try:
                caller = self._admit(context, rule)
                counted = self._counts.counted(caller, rule.weight, rule.long)
            except Refusal as refusal:
                await abort(context, refusal)
            with counted:
                return await answer(context)

        # The one answer of a call and its end are sent at once.
        made = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
        return made(gated, response_serializer=handler.response_serializer)


class _Reader:
    """Reads messages of one method within its rule."""

    def __init__(self, name: str, rule: Rule, handler: Any) -> None:
        self._name = name
        self._most = rule.max_bytes
        self._parse = handler.request_deserializer

    async def only(self, context: Context) -> Any:
        """The one message of the call; a bad one ends it."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                raw = await context.read()
        except TimeoutError:
            await abort(context, self._bad("did not send its message"))
        message = self._parsed(raw)
        raw = None
        if isinstance(message, Refusal):
            await abort(context, message)
        return message

    async def each(self, context: Context) -> AsyncGenerator[Any, None]:
        """All messages; the first bad one ends the call."""
        while (raw := await context.read()) is not grpc.aio.EOF:
            message = self._parsed(raw)
            raw = None
            if isinstance(message, Refusal):
                await abort(context, message)
            yield message

    def _parsed(self, raw: Any) -> Any:
        """The message, or a Refusal.

        Calls that were refused are cycles of garbage: what their frames hold lives until
        thousands of them are collected. So no refusal is raised here, bytes are let go at once,
        and nothing is read by gRPC's iterator, which keeps the last message.
        """
        if raw is grpc.aio.EOF:
            return self._bad("has no message")
        if len(raw) > self._most:
            return Refusal(
                grpc.StatusCode.INVALID_ARGUMENT,
                "MESSAGE_TOO_LARGE",
                f"a message of {self._name} has at most {self._most:,} bytes, not {len(raw):,}",
            )
        if self._parse is None:
            return raw
        try:
            return self._parse(raw)
        except DecodeError:
            return self._bad("has a message that cannot be read")

    def _bad(self, what: str) -> Refusal:
        return Refusal(
            grpc.StatusCode.INVALID_ARGUMENT, "BAD_MESSAGE", f"the call of {self._name} {what}"
        )


def _answering(handler: Any, reader: _Reader) -> Callable[[Context], Awaitable[Any]]:
    """The handler as one that takes a stream of bytes. Gives the answer of a method that has one;
    those of others are sent."""
    method = (
        handler.stream_stream or handler.stream_unary or handler.unary_stream or handler.unary_unary
    )

    async def answer(context: Context) -> Any:
        if handler.request_streaming:
            async with aclosing(reader.each(context)) as asked:
                return await respond(asked, context)
        return await respond(await reader.only(context), context)

    async def respond(asked: Any, context: Context) -> Any:
        answering = method(asked, context)
        if not inspect.isasyncgen(answering):
            return await answering
        async for one in answering:
            await context.write(one)
        return None

    return answer
