"""Machines that join by a token: thousands at once become few transactions.

A use of a token is counted in the transaction that admits the host, under the revision that it was
decided from: one use more than allowed finds another revision, and loses. Only then is anything
signed. Whoever was admitted and not answered asks again with the same key, and is signed for again
without a use.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import structlog

from fleet.certificates.host_issuer import CannotIssue
from fleet.certificates.join_token import hash_of
from fleet.certificates.signing_request import BadRequest, SigningRequest, checked
from fleet.peers import parse_peer
from fleet.v1 import joining_pb2 as joining
from fleet_controller.batch_queue import BatchQueue
from fleet_controller.core.joining.admission import check_clock, check_use
from fleet_controller.core.joining.records import JoinedRecord, TokenRecord
from fleet_controller.core.refusals import Reason, Refused, expelled
from fleet_controller.election.election import LeadershipLost
from fleet_controller.joining.join_rates import JoinRates
from fleet_controller.leader.environment import Issuer
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.records import Write, put_joined, put_token

# A machine's record and its line of the audit trail; the tokens' records beside them.
_WRITES_OF_ONE = 3
_LEADS_NO_MORE = "this controller leads no longer"
_log = structlog.get_logger(__name__)
NO_KEY = (
    "the controller that leads has no issuing key: make one with 'fleetctl certs issuing', and "
    "give its folder to all controllers with --issuing"
)


@dataclass(slots=True, eq=False)
class _Joining:
    request: SigningRequest
    token: str
    address: str
    done: asyncio.Future[_Admitted] = field(default_factory=asyncio.Future)

    def fail(self, error: Exception) -> None:
        """Unless the caller has gone away meanwhile."""
        if not self.done.done():
            self.done.set_exception(error)


class _Admitted(NamedTuple):
    """`news`: what there is to tell of it; empty where it was admitted so before."""

    token: TokenRecord
    news: str = ""


class Joins:
    """One leadership's queue of machines that join; `run` admits them in batches."""

    def __init__(
        self,
        memory: LeaderMemory,
        writer: ChangeWriter,
        issuer: Issuer | None,
        controllers: Callable[[], list[str]],
        settings: str,
    ) -> None:
        """`controllers`: their addresses by now. `settings`: TOML for agents that join."""
        self._memory = memory
        self._writer = writer
        self._issuer = issuer
        self._controllers = controllers
        self._settings = settings
        self._queue: BatchQueue[_Joining] = BatchQueue(memory.clock)
        self._rates = JoinRates()
        self._over = False

    async def join(self, request: joining.JoinRequest, address: str) -> joining.JoinResponse:
        """`address`: from which the machine has called. Raises Refused, StoreError."""
        self._rates.check(address, self._memory.clock())
        try:
            asked = self._looked_at(request)
            admitted = await self._admitted(_Joining(asked, request.token_id, address))
        except Refused as refused:
            if refused.reason is not Reason.JOIN_LATER:
                self._note_refusal(address, refused)
            raise
        return self._answer(asked, admitted.token)

    async def run(self) -> None:
        """Until cancelled; callers that wait then, or come later, are to ask another leader."""
        batch: list[_Joining] = []
        most = max(1, self._writer.max_writes // _WRITES_OF_ONE)
        try:
            while True:
                batch = await self._queue.take(most)
                await self._admit(batch)
        finally:
            self._over = True
            for one in (*batch, *self._queue.left()):
                one.fail(LeadershipLost(_LEADS_NO_MORE))

    def _looked_at(self, request: joining.JoinRequest) -> SigningRequest:
        """The cheapest first: whoever has no token costs a hash. Raises Refused."""
        if self._issuer is None:
            raise Refused(Reason.NO_ISSUING_KEY, NO_KEY)
        token = self._memory.state.tokens.get(request.token_id)
        kept = token.hash if token else hash_of(b"")
        same = hmac.compare_digest(kept, hash_of(request.secret))
        if token is None or not same:
            raise Refused(
                Reason.BAD_TOKEN,
                "there is no such token: it was revoked, or mistyped; ask for another (fleetctl "
                "tokens create)",
            )
        try:
            asked = checked(request.signing_request)
        except BadRequest as error:
            raise Refused(Reason.BAD_REQUEST, str(error)) from error
        check_clock(asked.host, request.clock_unix, self._memory.events.now())
        return asked

    async def _admitted(self, one: _Joining) -> _Admitted:
        if self._over:
            raise LeadershipLost(_LEADS_NO_MORE)
        self._queue.put(one)
        return await one.done

    async def _admit(self, batch: list[_Joining]) -> None:
        async def once() -> dict[_Joining, _Admitted]:
            admitted, writes = self._decided(batch)
            if writes:
                await self._writer.write_one(writes)
            return admitted

        try:
            admitted = await self._writer.decide(once)
        except Exception as error:  # whoever waits is told; the queue goes on for others
            for one in batch:
                one.fail(error)
            return
        self._tell({one.request.host: by.news for one, by in admitted.items() if by.news})
        for one, by in admitted.items():
            if not one.done.done():
                one.done.set_result(by)

    def _decided(self, batch: list[_Joining]) -> tuple[dict[_Joining, _Admitted], list[Write]]:
        """Who is admitted, by which token, and what is written for it; others are refused."""
        drafted = _Draft({}, {}, [])
        admitted: dict[_Joining, _Admitted] = {}
        for one in batch:
            if one.done.done():  # refused already, or gone
                continue
            try:
                admitted[one] = self._decided_of(one, drafted)
            except Refused as refused:
                one.fail(refused)
            except Exception as error:  # ours: it is of this machine alone, and others go on
                _log.exception("a machine that joins", host=one.request.host)
                one.fail(error)
        return admitted, drafted.writes()

    def _decided_of(self, one: _Joining, drafted: _Draft) -> _Admitted:
        """Raises Refused."""
        now, host, state = self._memory.events.now(), one.request.host, self._memory.state
        have = drafted.tokens.get(one.token) or state.tokens.get(one.token)
        if have is None:
            raise Refused(Reason.BAD_TOKEN, f"the token {one.token} is revoked")
        self._check_maker(have)
        before = drafted.hosts.get(host) or state.joined.get(host)
        again = _is_again(before, one)
        check_use(have, host, one.address, now, more=not again)
        self._check_name(host, taken=host in drafted.hosts and not again)
        if again:
            self._rates.check_again(host, self._memory.clock())
            return _Admitted(have)
        used = msgspec.structs.replace(have, uses=have.uses + 1)
        by = f"token {have.id}, made by {have.actor}"
        after = f"use {used.uses} of {have.max_uses}, from {one.address}"
        line = self._writer.audited("join", by, host=host, after=after)
        drafted.tokens[have.id] = used
        drafted.hosts[host] = JoinedRecord(
            host, have.id, one.request.key_digest, now, one.address, have.approve
        )
        drafted.lines.append(line)
        known = host in state.hosts and (before is None or before.key != one.request.key_digest)
        anew = ", with another key than the host that was known by this name" if known else ""
        return _Admitted(used, f"{host} has joined from {one.address} by token {have.id}{anew}")

    def _check_name(self, host: str, *, taken: bool) -> None:
        """Raises Refused where somebody has it, may have it, or is not to have it."""
        if self._memory.is_expelled(host):
            raise expelled(host)
        if taken or self._memory.is_live(host):
            raise Refused(
                Reason.HOST_LIVE,
                f"a host called {host} is live: give this one another name (--name), or stop that "
                "one first",
            )
        if host in self._memory.state.hosts and self._memory.settling:
            raise Refused(
                Reason.JOIN_LATER,
                f"whether {host} is live is not known yet: this controller leads for a moment only",
            )

    def _check_maker(self, token: TokenRecord) -> None:
        """Who is denied lets nobody in by a token made before. Raises Refused."""
        maker = parse_peer(token.actor.partition(" via ")[0])
        if maker and any(one in self._memory.state.denied for one in maker.spellings):
            raise Refused(
                Reason.BAD_TOKEN,
                f"the token {token.id} was made by {maker}, who is denied: ask for another "
                "(fleetctl tokens create)",
            )

    def _tell(self, news: Mapping[str, str]) -> None:
        summary = f"{len(news):,} hosts have joined"
        self._memory.events.add_for_hosts("host_joined", news, summary)

    def _answer(self, asked: SigningRequest, token: TokenRecord) -> joining.JoinResponse:
        """Raises Refused."""
        issuer = self._issuer
        assert issuer is not None
        return joining.JoinResponse(
            host=asked.host,
            certificates=issued(issuer, asked, self._memory.events.now()),
            authorities=issuer.authorities,
            controllers=self._controllers(),
            labels=token.labels,
            settings=self._settings,
        )

    def _note_refusal(self, address: str, refused: Refused) -> None:
        self._rates.note_refusal(address, self._memory.clock())
        text = f"a machine at {address} may not join: {refused}"
        self._memory.events.add("join_refused", text, alike=refused.reason, free=1)


class _Draft(NamedTuple):
    """What a batch writes. `tokens`: as they will be."""

    tokens: dict[str, TokenRecord]
    hosts: dict[str, JoinedRecord]
    lines: list[Write]

    def writes(self) -> list[Write]:
        return [
            *map(put_token, self.tokens.values()),
            *map(put_joined, self.hosts.values()),
            *self.lines,
        ]


def issued(issuer: Issuer, asked: SigningRequest, now: float) -> bytes:
    """PEM. Raises Refused."""
    try:
        return issuer.issue(asked, datetime.fromtimestamp(now, UTC))
    except CannotIssue as error:
        raise Refused(Reason.NO_ISSUING_KEY, str(error)) from error


def _is_again(before: JoinedRecord | None, one: _Joining) -> bool:
    """Whether it was admitted so already, and its answer was lost."""
    return before is not None and (before.token, before.key) == (
        one.token,
        one.request.key_digest,
    )
