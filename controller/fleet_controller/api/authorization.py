"""What stands before each method of the API: who may call it, and who answers.

`ClusterApi` cannot be made with a method without `@rpc`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import grpc

from fleet.peers import PEOPLE
from fleet.service import Context, guarded
from fleet.serving.gate import ORDINARY_BYTES, Admit, Rule, ruled
from fleet.transport import (
    READ_ONLY_METADATA,
    TAKEN_METADATA,
    Peer,
    Refusal,
    Role,
    abort,
)
from fleet_controller.api.callers import (
    Caller,
    CallsUnderWay,
    caller_of,
    check_not_denied,
    denial,
)
from fleet_controller.api.needs import NEEDS, need_of
from fleet_controller.api.refusals import refusal_of
from fleet_controller.core.people import rights
from fleet_controller.core.people.records import PersonRecord
from fleet_controller.core.people.rights import Need, Right
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
    calls: CallsUnderWay


@dataclass(frozen=True, slots=True)
class Call:
    """A call as its method sees it. `leader`: this replica's leadership, or the one it had last
    where the method may answer from that."""

    caller: Caller
    leader: Leader
    _context: Context

    @property
    def peer(self) -> Peer:
        return self.caller.peer

    @property
    def actor(self) -> str:
        """Who calls, as the audit trail and events name it."""
        return str(self.caller)

    def require(self, roles: Roles) -> None:
        """Raises Refusal when the caller's certificate has none of these."""
        check_role(self.peer, roles)

    @property
    def is_bound_by_records(self) -> bool:
        """Whether records say what the caller may. They say nothing of machines."""
        people = self.leader.memory.state.people
        return self.peer.role in PEOPLE and rights.in_force(people)

    @property
    def person(self) -> PersonRecord | None:
        """What is known of whom the certificate names."""
        return self.leader.memory.state.people.get(self.peer.name)

    def need(self, need: Need) -> None:
        """Raises Refused when the caller's record does not give it."""
        if self.is_bound_by_records:
            fleets = self.leader.memory.state.fleets
            rights.check(self.peer.name, self.person, need, fleets)

    def sees(self, fleet: str) -> bool:
        """Whether the caller may know of it."""
        if not self.is_bound_by_records:
            return True
        found = self.leader.memory.state.fleets.get(fleet, fleet)
        return rights.right_on(self.person, found) >= Right.VIEW

    @property
    def sees_all(self) -> bool:
        """Whether the caller may know of every fleet."""
        return not self.is_bound_by_records or rights.right_on_all(self.person) >= Right.VIEW

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
        line = NEEDS[method.__name__]

        @by_any_replica(roles, max_bytes=max_bytes, long=long)
        @functools.wraps(method)
        async def led(self: Service, by: Caller, request: Request, context: Context) -> Response:
            replica = self.replica
            leading = _leading_or_past(replica, context) if recalls else replica.leader()
            call = Call(by, leading, context)
            if call.is_bound_by_records:
                call.need(need_of(line, request, leading.memory.state.fleets))
            return await method(self, call, request)

        return led

    return guard


def by_any_replica(
    roles: Roles | Callable[[Any], Roles], *, max_bytes: int = ORDINARY_BYTES, long: bool = False
) -> Callable[
    [Callable[[Any, Caller, Request, Context], Awaitable[Response]]], Decorated[Request, Response]
]:
    """As `rpc`, where a replica that stands by answers as well."""
    # Those whose roles follow from the request change something, or only plan it for readers.
    rule = Rule(frozenset(READERS if callable(roles) else roles), max_bytes, long)

    def guard(
        method: Callable[[Any, Caller, Request, Context], Awaitable[Response]],
    ) -> Decorated[Request, Response]:
        @ruled(rule)
        @guarded
        @functools.wraps(method)
        async def called(self: Service, request: Request, context: Context) -> Response:
            try:
                caller = caller_of(context)
                check_not_denied(caller, self.replica.denied)
                check_role(caller.peer, roles(request) if callable(roles) else roles)
                with self.calls.under_way(caller):
                    return await method(self, caller, request, context)
            except asyncio.CancelledError:
                # Denied meanwhile, or allowed less: whoever still listens is told why.
                if refusal := denial(caller, self.replica.denied) or self.calls.why_ended():
                    await abort(context, refusal)
                raise
            except Exception as error:
                await abort(context, refusal_of(error))

        return called

    return guard


def changing_unless_planned(request: Any) -> Roles:
    """The roles for a method whose request may ask for no more than a plan."""
    return READERS if request.plan_only else WRITERS


def admitting(replica: Replica) -> Admit:
    """Who calls a method of a rule, as its gate asks: by certificate and method alone."""

    def admit(context: Context, rule: Rule) -> Peer:
        caller = caller_of(context)
        check_not_denied(caller, replica.denied)
        check_role(caller.peer, tuple(role for role in Role if role in rule.roles))
        return caller.peer

    return admit


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
