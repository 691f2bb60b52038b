"""What stands before each method of the API: who may call, and how errors are told."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import grpc

from fleet.service import Context, no_role
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
from fleet_controller.core.changes import Reason, Refused
from fleet_controller.election.election import LeadershipLost
from fleet_controller.mirror.committer import Frozen, Outdated
from fleet_controller.replica.replica import Leading, NotLeading, Replica
from fleet_controller.store.port import StoreError, UnknownOutcome

Request = TypeVar("Request")
Response = TypeVar("Response")
READERS = (Role.OPERATOR, Role.VIEWER)
WRITERS = (Role.OPERATOR,)
_SHARE_OF_WAITING = 0.9

_CODES = {
    Reason.NO_SUCH_FLEET: grpc.StatusCode.NOT_FOUND,
    Reason.NO_SUCH_HOST: grpc.StatusCode.NOT_FOUND,
    Reason.NO_SUCH_VM: grpc.StatusCode.NOT_FOUND,
    Reason.BEYOND_CAPACITY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.STALE_PLAN: grpc.StatusCode.ABORTED,
    Reason.FLEET_DELETING: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NO_FLEET_NUMBER: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DUPLICATE_HOST: grpc.StatusCode.ALREADY_EXISTS,
    Reason.HOST_UNREACHABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.HOST_NOT_LOST: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.HOST_LOST: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.HOST_IN_USE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.DRAIN_CANCELLED: grpc.StatusCode.ABORTED,
    Reason.NO_SUCH_GENERATION: grpc.StatusCode.NOT_FOUND,
    Reason.NOTHING_TO_CHANGE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.ROLLOUT_UNDER_WAY: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.ROLLOUT_STATE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.HOST_LIVE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.UNIMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    Reason.NOT_DURABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CHANGES_FROZEN: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NOT_FROZEN: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.LATE: grpc.StatusCode.FAILED_PRECONDITION,
}


class Gated(Protocol):
    """What has methods behind the gate."""

    replica: Replica


def caller(context: Context, roles: tuple[Role, ...]) -> Peer:
    """Who calls. Raises Refusal when the certificate does not entitle to it."""
    peer = caller_of(context)
    if peer is None:
        raise no_role()
    if peer.role not in roles:
        wanted = " or ".join(roles)
        raise Refusal(
            grpc.StatusCode.PERMISSION_DENIED,
            "NOT_ALLOWED",
            f"{peer} may not do this; it takes the role {wanted}",
        )
    return peer


def caller_of(context: Context) -> Peer | None:
    """Who calls, or for whom another controller passes the call on; nobody else is believed about
    whom it speaks for."""
    peer = peer_of(context.auth_context())
    if peer is not None and peer.role is Role.CONTROLLER:
        for key, value in context.invocation_metadata() or ():
            if key == CALLER_METADATA and (other := Peer.parse(str(value))):
                return other
    return peer


def refusal_of(error: Exception) -> Refusal:
    """How an error of ours is told to the caller. Others are raised again: they are defects."""
    match error:
        case Refusal():
            return error
        case Refused():
            code = _CODES.get(error.reason, grpc.StatusCode.INVALID_ARGUMENT)
            return Refusal(code, error.reason, str(error), error.metadata)
        case NotLeading():
            return Refusal(
                grpc.StatusCode.FAILED_PRECONDITION
                if error.address
                else grpc.StatusCode.UNAVAILABLE,
                "NOT_LEADER",
                str(error),
                {"leader_address": error.address},
            )
        case LeadershipLost():
            return Refusal(grpc.StatusCode.UNAVAILABLE, "NOT_LEADER", str(error))
        case UnknownOutcome():
            return Refusal(
                grpc.StatusCode.UNAVAILABLE,
                "OUTCOME_UNKNOWN",
                f"the store did not answer in time, so the change may or may not stand: {error}",
            )
        case StoreError():
            return Refusal(
                grpc.StatusCode.UNAVAILABLE,
                "STORE_UNAVAILABLE",
                f"nothing was changed, the store cannot be written: {error}",
            )
        case Frozen():
            return Refusal(grpc.StatusCode.FAILED_PRECONDITION, Reason.CHANGES_FROZEN, str(error))
        case Outdated():
            return Refusal(
                grpc.StatusCode.ABORTED, "BUSY", "others kept changing the same things; try again"
            )
    raise error


def asks(
    roles: tuple[Role, ...], *, recalls: bool = False
) -> Callable[
    [Callable[[Any, Leading, Request, Peer], Awaitable[Response]]],
    Callable[[Any, Request, Context], Awaitable[Response]],
]:
    """A method that the leader answers to callers of these roles. `recalls`: while there is none,
    whoever led last answers it from what it knew, and says so."""

    def gate(
        method: Callable[[Any, Leading, Request, Peer], Awaitable[Response]],
    ) -> Callable[[Any, Request, Context], Awaitable[Response]]:
        @functools.wraps(method)
        async def gated(self: Gated, request: Request, context: Context) -> Response:
            try:
                peer = caller(context, roles)
                leading = _leading_or_past(self.replica, context) if recalls else None
                return await method(self, leading or self.replica.leading(), request, peer)
            except Exception as error:
                await abort(context, refusal_of(error))

        return gated

    return gate


def _leading_or_past(replica: Replica, context: Context) -> Leading:
    """Raises NotLeading where there is neither."""
    try:
        return replica.leading()
    except NotLeading:
        if (past := replica.past()) is None:
            raise
        told = f"{past.seconds:.1f} {past.reason}".encode()
        context.set_trailing_metadata(((READ_ONLY_METADATA, told),))
        return past.leading


@dataclass(frozen=True, slots=True)
class Call:
    """A call that the leader passes on, as its method sees it."""

    peer: Peer
    leading: Leading
    _context: Context

    def require(self, roles: tuple[Role, ...]) -> None:
        """Raises Refusal when the caller has none of these."""
        caller(self._context, roles)

    def within(self, seconds: float) -> float:
        """At most so many, and less where the caller waits no longer: whoever does not answer
        can be named only to somebody who still listens."""
        left = self._context.time_remaining()
        return seconds if left is None else min(seconds, left * _SHARE_OF_WAITING)

    async def begin(self) -> None:
        """Tell the caller now that the leader has taken the call."""
        await self._context.send_initial_metadata(((TAKEN_METADATA, "1"),))

    async def send(self, answer: Any) -> None:
        """One answer of a stream. Returns when there is room for the next."""
        await self._context.write(answer)


def passes_on(
    roles_for: Callable[[Any], tuple[Role, ...]],
) -> Callable[
    [Callable[[Any, Call, Request], Awaitable[Response]]],
    Callable[[Any, Request, Context], Awaitable[Response]],
]:
    """A method, with one answer or a stream of them, that is asked of hosts through the leader.
    Which roles may ask follows from the request."""

    def gate(
        method: Callable[[Any, Call, Request], Awaitable[Response]],
    ) -> Callable[[Any, Request, Context], Awaitable[Response]]:
        @functools.wraps(method)
        async def gated(self: Gated, request: Request, context: Context) -> Response:
            try:
                peer = caller(context, roles_for(request))
                return await method(self, Call(peer, self.replica.leading(), context), request)
            except Exception as error:
                await abort(context, refusal_of(error))

        return gated

    return gate


async def later(context: Context, what: str) -> None:
    """Answer that this controller cannot do it yet."""
    await abort(
        context,
        Refusal(
            grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED", f"this controller has no {what} yet"
        ),
    )
