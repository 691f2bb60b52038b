"""The members of an etcd cluster: one channel each, of which one is asked at a time.

A call goes out only on a connection that is up, so that a call refused for want of one is known
never to have been sent. A member that fails a call hands its turn to the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import grpc

from fleet.etcd import rpc_pb2 as rpc
from fleet.transport import Identity
from fleet_controller.store.etcd.health import (
    ask_all,
    client_address,
    listed_members,
    members_health,
    unasked,
)
from fleet_controller.store.etcd.member import PASSING, Member, explain
from fleet_controller.store.etcd.wire import parse_endpoint
from fleet_controller.store.health import MemberHealth
from fleet_controller.store.port import StoreReplaced, Unavailable

# How long one member may take to connect and to say who it is.
PROBE_SECONDS = 2.0


class Answer(Protocol):
    """What all of etcd's answers have."""

    @property
    def header(self) -> rpc.ResponseHeader: ...


A = TypeVar("A", bound=Answer)


class Members:
    """All members, and the one whose turn it is."""

    def __init__(self, endpoints: Sequence[str], identity: Identity | None) -> None:
        """Endpoints are `host:port` or URLs. Raises ValueError."""
        addresses = list(dict.fromkeys(map(parse_endpoint, endpoints)))
        if not addresses:
            raise ValueError("no etcd endpoint is given")
        self._identity = identity
        self._members = [Member(address, identity) for address in addresses]
        # Members of the cluster that no endpoint names, by address: only asked how they are.
        self._others: dict[str, Member] = {}
        self._turn = 0
        self._cluster = 0
        self._revision = 0
        self._replaced = ""
        self.version = ""
        self.closed = False

    @property
    def cluster(self) -> str:
        """The cluster's id in hexadecimal, as etcdctl shows it."""
        return f"{self._cluster:x}"

    @property
    def addresses(self) -> str:
        return ",".join(member.address for member in self._members)

    def pass_turn(self, member: Member) -> None:
        """The member failed a call: another is asked from here on."""
        member.known = False
        if self._members[self._turn] is member:
            self._turn = (self._turn + 1) % len(self._members)

    def accept(self, answer: A) -> A:
        """The answer, if it comes from the cluster first spoken to. Raises StoreReplaced."""
        cluster = answer.header.cluster_id
        if self._cluster == 0:
            self._cluster = cluster
        if cluster != self._cluster:
            self._replaced = (
                f"etcd at {self.addresses} is another cluster ({cluster:x}) than the one this"
                f" controller began with ({self._cluster:x})"
            )
        self._refuse_replaced()
        return answer

    async def ask_newest(self, until: float, call: Callable[[Member, float], Awaitable[A]]) -> A:
        """`ask`, for linearizable calls: also StoreReplaced for a state older than one seen."""
        floor = self._revision
        return self.accept_newest(await self.ask(until, call), floor)

    @property
    def revision(self) -> int:
        """The highest that a linearizable answer had."""
        return self._revision

    def accept_newest(self, answer: A, floor: int) -> A:
        """`floor`: the revision when the call was sent; answers may overtake one another."""
        reached = self.accept(answer).header.revision
        if reached < floor:
            self._replaced = (
                f"etcd at {self.addresses} is at revision {reached} and had been at {floor}:"
                " it was made anew or restored from an older state"
            )
        self._refuse_replaced()
        self._revision = max(self._revision, reached)
        return answer

    async def connected(self, until: float) -> Member:
        """A member with a connection that is up, before `until` (of the loop's clock).

        Raises Unavailable, StoreReplaced. Nothing but a question for its name has been sent.
        """
        self._refuse_ended()
        for _ in self._members:
            member = self._members[self._turn]
            if member.connected:
                return member
            seconds = min(PROBE_SECONDS, until - asyncio.get_running_loop().time())
            error = await self._greet(member, seconds, patient=False)
            if error is None:
                return member
            failure = error
            self.pass_turn(member)
        raise Unavailable(
            f"etcd at {self.addresses} cannot be reached: {explain(failure)}"
        ) from failure

    async def wait_connected(self) -> Member:
        """As `connected`, however long it takes. Raises StoreReplaced; Unavailable when closed."""
        while True:
            self._refuse_ended()
            member = self._members[self._turn]
            if member.connected or not await self._greet(member, PROBE_SECONDS, patient=True):
                return member
            self.pass_turn(member)

    def _refuse_ended(self) -> None:
        if self.closed:
            raise Unavailable("the connection to etcd has been closed")
        self._refuse_replaced()

    def _refuse_replaced(self) -> None:
        """A store found replaced stays so, whoever answers later."""
        if self._replaced:
            raise StoreReplaced(self._replaced)

    async def _greet(
        self, member: Member, seconds: float, *, patient: bool
    ) -> grpc.aio.AioRpcError | None:
        try:
            status = self.accept(await member.probe(seconds, patient=patient))
        except grpc.aio.AioRpcError as error:
            return error
        self.version = status.version
        member.known = True
        return None

    async def ask(self, until: float, call: Callable[[Member, float], Awaitable[A]]) -> A:
        """Ask what may be asked twice, of one member after the other, until one answers.

        `call` gets the member and its share of the time in seconds. Raises Unavailable,
        StoreReplaced, and AioRpcError where another member would say the same.
        """
        attempts = len(self._members) + 1
        for left in range(attempts, 0, -1):
            member = await self.connected(until)
            seconds = (until - asyncio.get_running_loop().time()) / left
            try:
                return self.accept(await call(member, seconds))
            except grpc.aio.AioRpcError as error:
                if error.code() not in PASSING:
                    raise
                self.pass_turn(member)
                failure = error
        raise Unavailable(
            f"etcd at {self.addresses} does not answer: {explain(failure)}"
        ) from failure

    async def health(self) -> tuple[MemberHealth, ...]:
        """Each member of the cluster, whether an endpoint names it or not."""
        asked = await ask_all([*self._members, *self._others.values()])
        if wanting := unasked(asked):
            for address in wanting:
                self._others[address] = Member(address, self._identity)
            asked += await ask_all(self._others[address] for address in wanting)
        await self._forget_others({client_address(one) for one in listed_members(asked)})
        return members_health(asked)

    async def _forget_others(self, listed: set[str]) -> None:
        """Whoever is listed no more is asked no more; while nobody lists, all stay."""
        for address in [one for one in self._others if listed and one not in listed]:
            await self._others.pop(address).close()

    async def close(self) -> None:
        self.closed = True
        for member in [*self._members, *self._others.values()]:
            await member.close()
