"""What stands before each RPC of the agent: only controllers call, and whoever commands is fenced.

A method that commands cannot be reached before the term of its request was heard: a leader that
another one has replaced is refused here. `AgentApi` cannot be made with a method without a guard.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar, cast

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from fleet.service import Context, check_all_guarded, guarded
from fleet.transport import Refusal, Role, abort, peer_of
from fleet.v1 import types_pb2 as types
from fleet_agent.api.refusals import NotOffered, refusal_of

Request = TypeVar("Request")
Response = TypeVar("Response")
Answers = Callable[[Any, Request, Context], Awaitable[Response]]
When = Callable[[Any], bool]
_TERM = "_what_of_the_term"


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


def commands(
    needs: str = "", when: When = _always
) -> Callable[[Answers[Request, Response]], Answers[Request, Response]]:
    """An RPC that commands the host, or does so `when` its request says it: the request's term is
    heard before the method runs. `needs`: as of `reads`."""
    return _guard(needs, when)


def fences_itself() -> Callable[[Answers[Request, Response]], Answers[Request, Response]]:
    """An RPC whose method checks the term together with more that only it knows, and keeps all of
    it in one write of the ledger."""
    return _guard("", _never)


def commands_by_stream(
    needs: str = "", when: When = _always
) -> Callable[
    [Callable[[Any, Request, AsyncIterator[Request], Context], Awaitable[None]]],
    Answers[AsyncIterator[Request], None],
]:
    """As `commands`, of a stream of requests, whose first one has the term. The method gets the
    first one and the rest; it is not called for a stream without any."""

    def guard(
        method: Callable[[Any, Request, AsyncIterator[Request], Context], Awaitable[None]],
    ) -> Answers[AsyncIterator[Request], None]:
        @functools.wraps(method)
        async def begun(self: Fenced, requests: AsyncIterator[Request], context: Context) -> None:
            requests = aiter(requests)
            first = await anext(requests, None)
            if first is not None:
                await _fence(self, first, when)
                await method(self, first, requests, context)

        return reads(needs, any_term=True)(begun)

    return guard


def _guard(
    needs: str, when: When, says_of_term: bool = True
) -> Callable[[Answers[Request, Response]], Answers[Request, Response]]:
    def guard(method: Answers[Request, Response]) -> Answers[Request, Response]:
        @guarded
        @functools.wraps(method)
        async def called(self: Fenced, request: Request, context: Context) -> Response:
            try:
                _check_caller(context)
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


def _check_caller(context: Context) -> None:
    """Raises Refusal for all but controllers."""
    peer = peer_of(cast(Mapping[str, list[bytes]], context.auth_context()))
    if peer is None or peer.role is not Role.CONTROLLER:
        who = peer or "a caller without a fleet certificate"
        message = f"{who} may not command an agent; only controllers may"
        raise Refusal(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED", message)
