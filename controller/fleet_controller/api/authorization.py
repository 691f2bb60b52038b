"""What stands before each method of the API: who may call it, and who answers.

`ClusterApi` cannot be made with a method without `@rpc`.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import grpc

from fleet.service import Context, guarded, no_role
from fleet.serving.gate import ORDINARY_BYTES, Rule, ruled
from fleet.transport import (
    CALLER_METADATA,
    READ_ONLY_METADATA,
    TAKEN_METADATA,
    Peer,
    Refusal,
    Role,
    abort,
    peer_of,
)
from fleet_controller.api.refusals import refusal_of
from fleet_controller.replica.leader import Leader
from fleet_controller.replica.replica import NotLeading, Replica

Request = TypeVar("Request")
Response = TypeVar("Response")
Roles = tuple[Role, ...]
READERS: Roles = (Role.OPERATOR, Role.VIEWER)
WRITERS: Roles = (Role.OPERATOR,)
# A request that may name every host, every fleet, or many ranges of VMs.
NAMES_MANY_BYTES = 1024 * 1024
_SHARE_OF_WAITING = 0.9


class Service(Protocol):
    """What has methods behind `@rpc`."""

    replica: Replica


@dataclass(frozen=True, slots=True)
class Call:
    """A call as its method sees it. `leader`: this replica's leadership, or the one it had last
    where the method may answer from that."""

    peer: Peer
    leader: Leader
    _context: Context

    @property
    def actor(self) -> str:
        """Who calls, as the audit trail and events name it."""
        return str(self.peer)

    def require(self, roles: Roles) -> None:
        """Raises Refusal when the caller has none of these."""
        check_role(self.peer, roles)

    def within(self, seconds: float) -> float:
        """At most so many seconds, and less where the caller waits no longer: whoever does not
        answer can be named only to somebody who still listens."""
        left = self._context.time_remaining()
        return seconds if left is None else min(seconds, left * _SHARE_OF_WAITING)

    async def begin(self) -> None:
        """Tell the caller now that the leader has taken the call."""
        await self._context.send_initial_metadata(((TAKEN_METADATA, "1"),))

    async def send(self, answer: Any) -> None:
        """One answer of a stream. Returns when there is room for the next."""
        await self._context.write(answer)


Decorated = Callable[[Any, Request, Context], Awaitable[Response]]


def rpc(
    roles: Roles | Callable[[Any], Roles],
    *,
    recalls: bool = False,
    max_bytes: int = ORDINARY_BYTES,
    long: bool = False,
) -> Callable[[Callable[[Any, Call, Request], Awaitable[Response]]], Decorated[Request, Response]]:
    """A method, with one answer or a stream of them, that the leader answers to callers of these
    roles; which ones may follow from the request. `recalls`: while nobody leads, whoever led last
    answers it from what it knew, and says so. `max_bytes`, `long`: as of `Rule`."""

    def guard(
        method: Callable[[Any, Call, Request], Awaitable[Response]],
    ) -> Decorated[Request, Response]:
        @by_any_replica(roles, max_bytes=max_bytes, long=long)
        @functools.wraps(method)
        async def led(self: Service, peer: Peer, request: Request, context: Context) -> Response:
            replica = self.replica
            leading = _leading_or_past(replica, context) if recalls else replica.leader()
            return await method(self, Call(peer, leading, context), request)

        return led

    return guard


def by_any_replica(
    roles: Roles | Callable[[Any], Roles], *, max_bytes: int = ORDINARY_BYTES, long: bool = False
) -> Callable[
    [Callable[[Any, Peer, Request, Context], Awaitable[Response]]], Decorated[Request, Response]
]:
    """As `rpc`, where a replica that stands by answers as well."""
    # Those whose roles follow from the request change something, or only plan it for readers.
    rule = Rule(frozenset(READERS if callable(roles) else roles), max_bytes, long)

    def guard(
        method: Callable[[Any, Peer, Request, Context], Awaitable[Response]],
    ) -> Decorated[Request, Response]:
        @ruled(rule)
        @guarded
        @functools.wraps(method)
        async def called(self: Service, request: Request, context: Context) -> Response:
            try:
                peer = caller_of(context)
                check_role(peer, roles(request) if callable(roles) else roles)
                return await method(self, peer, request, context)
            except Exception as error:
                await abort(context, refusal_of(error))

        return called

    return guard


def changing_unless_planned(request: Any) -> Roles:
    """The roles for a method whose request may ask for no more than a plan."""
    return READERS if request.plan_only else WRITERS


def caller_of(context: Context) -> Peer:
    """Who calls, or for whom another controller passes the call on: nobody but a controller is
    believed about that. Raises Refusal for a certificate without a role."""
    peer = peer_of(context.auth_context())
    if peer is not None and peer.role is Role.CONTROLLER:
        for key, value in context.invocation_metadata() or ():
            if key == CALLER_METADATA and (other := Peer.parse(str(value))):
                return other
    if peer is None:
        raise no_role()
    return peer


def admit(context: Context, rule: Rule) -> Peer:
    """Who calls a method of this rule. Raises Refusal; looks at no message."""
    caller = caller_of(context)
    check_role(caller, tuple(role for role in Role if role in rule.roles))
    return caller


def check_role(peer: Peer, roles: Roles) -> None:
    """Raises Refusal when the certificate does not entitle to it."""
    if peer.role not in roles:
        wanted = " or ".join(roles)
        raise Refusal(
            grpc.StatusCode.PERMISSION_DENIED,
            "NOT_ALLOWED",
            f"{peer} may not do this; it takes the role {wanted}",
        )


def _leading_or_past(replica: Replica, context: Context) -> Leader:
    """Raises NotLeading where there is neither."""
    try:
        return replica.leader()
    except NotLeading:
        if (past := replica.past()) is None:
            raise
        age = f"{past.seconds:.1f} {past.reason}".encode()
        context.set_trailing_metadata(((READ_ONLY_METADATA, age),))
        return past.leader
