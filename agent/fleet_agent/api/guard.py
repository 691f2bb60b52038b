"""What stands before each RPC of the agent: only controllers call, and whoever commands is fenced.

A method that commands cannot be reached before the term of its request was heard: a leader that
another one has replaced is refused here. `AgentApi` cannot be made with a method without a guard.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from fleet.peers import NoRole, peer_of
from fleet.service import Context, check_all_guarded, guarded, no_role
from fleet.serving.gate import ORDINARY_BYTES, Rule, ruled
from fleet.transport import Peer, Refusal, Role, abort
from fleet.v1 import types_pb2 as types
from fleet_agent.api.refusals import NotOffered, refusal_of
from fleet_agent.reconcile.ledger import LedgerError

Request = TypeVar("Request")
Response = TypeVar("Response")
Answers = Callable[[Any, Request, Context], Awaitable[Response]]
When = Callable[[Any], bool]
_TERM = "_what_of_the_term"
# Of a message of a stream: what is pasted into a console, with room to name the bound it exceeds.
STREAMED_BYTES = 128 * 1024
_CONTROLLERS = Rule(frozenset({Role.CONTROLLER}))
# Hosts call hosts for chunks of images, and for nothing else.
_HOSTS_TOO = Rule(frozenset({Role.CONTROLLER, Role.AGENT}))


class Fenced(Protocol):
    """What has guarded methods."""

    async def heard(self, term: types.Term) -> None:
        """Raises StaleTerm, LedgerError."""


def check_guards(servicer: object, service: ServiceDescriptor) -> None:
    """Raises TypeError where a method of the service has no guard, or where its requests have a
    term and its guard says nothing of it."""
    check_all_guarded(servicer, service)
    for method in service.methods:
        minded = hasattr(getattr(servicer, method.name), _TERM)
        if "term" in method.input_type.fields_by_name and not minded:
            raise TypeError(f"{method.name} of {service.name} would obey a leader that is none")


def _always(request: object) -> bool:
    return True


def _never(request: object) -> bool:
    return False


def reads(
    needs: str = "", any_term: bool = False
) -> Callable[[Answers[Request, Response]], Answers[Request, Response]]:
    """An RPC that changes nothing on the host. `needs`: the property of the service without which
    it is not offered; reading it raises NotOffered. `any_term`: its requests have a term, which
    does not matter."""
    return _guard(needs, _never, says_of_term=any_term)


def serves_hosts(
    needs: str,
) -> Callable[[Answers[Request, Response]], Answers[Request, Response]]:
    """As `reads`, of what other hosts' agents may call too: the method decides for which of them it
    has anything."""
    return _guard(needs, _never, rule=_HOSTS_TOO)


def commands(
    needs: str = "", when: When = _always, *, max_bytes: int = ORDINARY_BYTES
) -> Callable[[Answers[Request, Response]], Answers[Request, Response]]:
    """An RPC that commands the host, or does so `when` its request says it: the request's term is
    heard before the method runs. `needs`: as of `reads`; `max_bytes`: as of `Rule`."""
    return _guard(needs, when, max_bytes=max_bytes)


def fences_itself(
    max_bytes: int = ORDINARY_BYTES,
) -> Callable[[Answers[Request, Response]], Answers[Request, Response]]:
    """An RPC whose method checks the term together with more that only it knows, and keeps all of
    it in one write of the ledger. `max_bytes`: as of `Rule`."""
    return _guard("", _never, max_bytes=max_bytes)


def commands_by_stream(
    needs: str = "",
    when: When = _always,
    *,
    though_unwritten: bool = False,
    max_bytes: int = STREAMED_BYTES,
) -> Callable[
    [Callable[[Any, Request, AsyncIterator[Request], Context], Awaitable[None]]],
    Answers[AsyncIterator[Request], None],
]:
    """As `commands`, of a stream of requests, whose first one has the term. The method gets the
    first one and the rest; it is not called for a stream without any. `though_unwritten`: nothing
    is carried out by it, so it is served also where the term cannot be kept for another process of
    this agent."""

    def guard(
        method: Callable[[Any, Request, AsyncIterator[Request], Context], Awaitable[None]],
    ) -> Answers[AsyncIterator[Request], None]:
        @functools.wraps(method)
        async def begun(self: Fenced, requests: AsyncIterator[Request], context: Context) -> None:
            requests = aiter(requests)
            first = await anext(requests, None)
            if first is not None:
                try:
                    await _fence(self, first, when)
                except LedgerError:
                    if not though_unwritten:
                        raise
                await method(self, first, requests, context)

        return _guard(needs, _never, max_bytes=max_bytes)(begun)

    return guard


def _guard(
    needs: str,
    when: When,
    says_of_term: bool = True,
    max_bytes: int = ORDINARY_BYTES,
    rule: Rule = _CONTROLLERS,
) -> Callable[[Answers[Request, Response]], Answers[Request, Response]]:
    def guard(method: Answers[Request, Response]) -> Answers[Request, Response]:
        @ruled(replace(rule, max_bytes=max_bytes))
        @guarded
        @functools.wraps(method)
        async def called(self: Fenced, request: Request, context: Context) -> Response:
            try:
                admit(context, rule)
                if needs:
                    getattr(self, needs)
                await _fence(self, request, when)
                return await method(self, request, context)
            except NotOffered:
                message = f"this agent does not offer {method.__name__}; a newer one may"
                code = grpc.StatusCode.UNIMPLEMENTED
                await abort(context, Refusal(code, "UNIMPLEMENTED", message))
            except Exception as error:
                await abort(context, refusal_of(error))

        if says_of_term:
            setattr(called, _TERM, True)
        return called

    return guard


async def _fence(self: Fenced, request: Any, when: When) -> None:
    """Raises StaleTerm, LedgerError."""
    if when(request):
        await self.heard(request.term)


def admit(context: Context, rule: Rule) -> Peer:
    """Who calls a method of this rule. Raises Refusal; looks at no message."""
    try:
        peer = peer_of(context.auth_context())
    except NoRole as why:
        raise no_role(why) from why
    if peer.role not in rule.roles:
        message = f"{peer} may not command an agent; only controllers may"
        raise Refusal(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED", message)
    return peer
