"""Calls to the controller: any replica that answers, a deadline on all, errors as sentences.

What only reads is asked of one replica after another until one answers, and so is a change that
does no harm when it is done twice. Any other change is asked again only where it is certain that
nothing of it was begun.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path
from typing import TypeVar

import grpc

from fleet.transport import Identity
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from fleetctl.contexts import ClusterContext
from fleetctl.conversation import Conversation, NotTaken, Said, opened
from fleetctl.failure import Failure, failure_of, most_telling, trouble
from fleetctl.outcome import NoAnswer, Trouble, Unavailable, Unreachable
from fleetctl.own_certificate import fault
from fleetctl.reach import CONNECT_SECONDS, HEAD_START, Reach
from fleetctl.read_only import ReadOnly, read_only_mark
from fleetctl.silence import Silence

Q = TypeVar("Q")
A = TypeVar("A")

# A change of the whole fleet is planned and written to the store before it is answered.
CHANGE_TIMEOUT = 30.0
# Between two rounds over the replicas while none of them leads.
ELECTION_PAUSE = 0.2


class _Manner(Enum):
    """How a call may be made."""

    READ = auto()
    AGAIN = auto()  # changes something, and may be made twice
    ONCE = auto()


class _NobodyAnswered(Exception):
    def __init__(self, failures: list[Failure]) -> None:
        super().__init__(failures)
        self.failures = failures


@dataclass(slots=True)
class Cluster:
    """The controller of one cluster, whichever replica it is. Timeouts are in seconds."""

    context: ClusterContext
    timeout: float
    change_timeout: float = CHANGE_TIMEOUT
    clock: Callable[[], float] = time.monotonic
    # Of the last answer, where it was made from what a replica knew last.
    read_only: ReadOnly | None = None
    _reach: Reach | None = None
    _first: str = ""  # the replica that answered last

    def change(
        self,
        rpc: Callable[[ClusterServiceStub], grpc.UnaryUnaryMultiCallable[Q, A]],
        request: Q,
        *,
        again: bool = False,
    ) -> A:
        """As `call`, for what changes something. `again`: the same once more does no harm, as it
        says the whole of what is wanted. Raises Trouble."""
        try:
            return self._ask(
                rpc, request, self.change_timeout, _Manner.AGAIN if again else _Manner.ONCE
            )
        except NoAnswer as trouble:
            raise NoAnswer(
                f"{trouble.message}; the change may still be carried out, see 'fleetctl status'",
                reason=trouble.reason,
            ) from trouble

    def call(
        self,
        rpc: Callable[[ClusterServiceStub], grpc.UnaryUnaryMultiCallable[Q, A]],
        request: Q,
        timeout: float | None = None,
        *,
        takes: float = 0.0,
    ) -> A:
        """The answer of the first replica that gives one. `takes`: how long a replica may keep it
        back, being asked to wait for something. Raises Trouble."""
        limit = self.timeout if timeout is None else timeout
        return self._ask(rpc, request, limit, _Manner.READ, takes)

    def _ask(
        self,
        rpc: Callable[[ClusterServiceStub], grpc.UnaryUnaryMultiCallable[Q, A]],
        request: Q,
        limit: float,
        manner: _Manner,
        takes: float = 0.0,
    ) -> A:
        """Rounds over the replicas, for as long as a leader is being elected."""
        deadline = self.clock() + limit
        failures: list[Failure] = []
        while True:
            try:
                return self._ask_each(rpc, request, deadline, manner, takes)
            except _NobodyAnswered as round_:
                failures += round_.failures
                electing = most_telling(round_.failures).passing
                if not electing or self.clock() + ELECTION_PAUSE >= deadline:
                    # The last round may have had no time left: an earlier one says more.
                    raise self._failed(failures, limit, manner) from round_
            time.sleep(ELECTION_PAUSE)

    def _ask_each(
        self,
        rpc: Callable[[ClusterServiceStub], grpc.UnaryUnaryMultiCallable[Q, A]],
        request: Q,
        deadline: float,
        manner: _Manner,
        takes: float,
    ) -> A:
        """One round over the replicas. What one of them only recalls is taken where no other knows
        better. Raises _NobodyAnswered, or Trouble for a refusal."""
        recalled: tuple[A, ReadOnly] | None = None
        failures: list[Failure] = []
        untried = self._replicas()
        while untried:
            endpoint, most = self._next(untried, deadline - self.clock(), failures)
            share = max(0.1, deadline - self.clock() - takes) / (len(untried) + 1) + takes
            share = min(share, max(0.1, most))
            try:
                ask = rpc(self._reached.stub(endpoint))
                answer, call = ask.with_call(request, timeout=share)
            except grpc.RpcError as error:
                failure = failure_of(endpoint, error)
                failures.append(failure)
                if not failure.elsewhere or (manner is _Manner.ONCE and not failure.untouched):
                    raise self._failed(failures[-1:], share, manner) from error
                _put_first(failure.leader, untried, failures)
            else:
                mark = read_only_mark(call.trailing_metadata())
                if mark is None:
                    self._first, self.read_only = endpoint, None
                    return answer
                recalled = recalled or (answer, mark)
        if recalled is not None:
            answer, self.read_only = recalled
            return answer
        raise _NobodyAnswered(failures)

    def _failed(self, failures: list[Failure], limit: float, manner: _Manner) -> Trouble:
        """What people are told; NoAnswer where a change may have been begun."""
        told = self._trouble(failures, limit)
        begun = any(one.elsewhere and not one.untouched for one in failures)
        if manner is _Manner.READ or not begun or not isinstance(told, Unavailable):
            return told
        return NoAnswer(told.message, reason=told.reason)

    def stream(
        self,
        rpc: Callable[[ClusterServiceStub], grpc.UnaryStreamMultiCallable[Q, A]],
        request: Q,
        timeout: float,
        *,
        silence: float = math.inf,
    ) -> Iterator[A]:
        """Answers until the timeout, which ends the stream without an error.

        A replica that says nothing for `silence` seconds, or ceases to lead, is left for the next
        one. Raises Trouble.
        """
        failures: list[Failure] = []
        untried = self._replicas()
        while untried:
            endpoint, most = self._next(untried, timeout, failures)
            heard = False
            call = rpc(self._reached.stub(endpoint))(request, timeout=timeout)
            listening = Silence(call, min(silence, most + 1))
            try:
                for answer in call:
                    self._first, heard = endpoint, True
                    yield answer
                    listening.heard()
                return
            except grpc.RpcError as error:
                failure = failure_of(endpoint, error)
                if listening.broken:
                    failure = replace(failure, message=f"{endpoint} has stopped answering")
                elif heard and failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
                    return
                if not failure.elsewhere:
                    raise self._trouble([failure], timeout) from error
                if heard:  # it no longer leads, or is no longer there: all others are worth a try
                    failures.clear()
                    untried = [one for one in self._replicas() if one != endpoint]
                failures.append(failure)
                _put_first(failure.leader, untried, failures)
            finally:
                listening.over()
                call.cancel()
        raise self._trouble(failures, timeout)

    def follow(
        self,
        rpc: Callable[[ClusterServiceStub], grpc.UnaryStreamMultiCallable[Q, A]],
        request: Q,
    ) -> Iterator[A]:
        """Answers until the controller has given all, or the caller goes away: to close the
        iterator, as Ctrl-C does, ends the call.

        When its replica is gone or ceases to lead, another one is asked the same from the
        beginning, for at most the timeout of a call. Raises Trouble.
        """
        deadline = self.clock() + self.timeout
        while True:
            failures: list[Failure] = []
            untried = self._replicas()
            while untried:
                endpoint, _ = self._next(untried, deadline - self.clock(), failures)
                call = rpc(self._reached.stub(endpoint))(request)
                try:
                    for answer in call:
                        self._first = endpoint
                        yield answer
                        deadline = self.clock() + self.timeout
                    return
                except grpc.RpcError as error:
                    failures.append(failure_of(endpoint, error))
                    if not failures[-1].elsewhere:
                        raise self._trouble(failures[-1:], self.timeout) from error
                    _put_first(failures[-1].leader, untried, failures)
                finally:
                    call.cancel()
            self._pause_or_raise(failures, deadline)

    def converse(
        self,
        rpc: Callable[[ClusterServiceStub], grpc.StreamStreamMultiCallable[Q, A]],
        requests: Iterable[Q],
    ) -> Conversation[A]:
        """A call on which both sides speak, once a replica has taken it. `requests` is read by a
        thread of its own, and everything it gives reaches the replica that takes the call.

        What happens after that ends the conversation. Raises Trouble, here and while iterating.
        """
        said = Said(requests)
        deadline = self.clock() + self.timeout
        while True:
            failures: list[Failure] = []
            untried = self._replicas()
            while untried:
                endpoint, most = self._next(untried, deadline - self.clock(), failures)
                share = min(max(0.1, deadline - self.clock()) / (len(untried) + 1), max(0.1, most))
                try:
                    return self._opened(rpc, endpoint, said, share)
                except NotTaken as refusal:
                    failure = failure_of(endpoint, refusal.error)
                    if refusal.silent:
                        failure = replace(failure, code=grpc.StatusCode.DEADLINE_EXCEEDED)
                    failures.append(failure)
                    if not failure.elsewhere:
                        raise self._trouble([failure], share) from refusal
                    _put_first(failure.leader, untried, failures)
            self._pause_or_raise(failures, deadline)

    def _opened(
        self,
        rpc: Callable[[ClusterServiceStub], grpc.StreamStreamMultiCallable[Q, A]],
        endpoint: str,
        said: Said[Q],
        seconds: float,
    ) -> Conversation[A]:
        """Raises NotTaken."""

        def told(error: grpc.RpcError) -> Trouble:
            return self._trouble([failure_of(endpoint, error)], self.timeout)

        call = rpc(self._reached.stub(endpoint))
        conversation = opened(lambda hearing: call(hearing), said, seconds, told)
        self._first = endpoint
        return conversation

    def _pause_or_raise(self, failures: list[Failure], deadline: float) -> None:
        """Wait a moment for a leader to be elected; Trouble when nobody else can help."""
        electing = most_telling(failures).passing
        if not electing or self.clock() + ELECTION_PAUSE >= deadline:
            raise self._trouble(failures, self.timeout)
        time.sleep(ELECTION_PAUSE)

    def _trouble(self, failures: list[Failure], limit: float) -> Trouble:
        """What people are told when no replica did it."""
        if most_telling(failures).hung_up and (why := fault(self.context)):
            return Unreachable(f"not allowed: {why}")
        return trouble(failures, limit)

    def _replicas(self) -> list[str]:
        endpoints = list(self.context.endpoints)
        if self._first:
            endpoints = [self._first, *(one for one in endpoints if one != self._first)]
        return endpoints

    def _next(
        self, untried: list[str], seconds: float, failures: list[Failure]
    ) -> tuple[str, float]:
        """Takes the one that is asked next out of those that have not been, and how long it may
        take to answer: one that does not even connect keeps nobody from asking the others again,
        least of all while those wait for a leader."""
        if len(self.context.endpoints) == 1 and len(untried) == 1:
            return untried.pop(), seconds
        electing = any(failure.passing for failure in failures)
        patience = min(seconds, HEAD_START if electing else CONNECT_SECONDS)
        endpoint, connected = self._reached.first(untried, patience)
        untried.remove(endpoint)
        return endpoint, seconds if connected else patience

    @property
    def _reached(self) -> Reach:
        if self._reach is None:
            self._reach = Reach(load_identity(self.context))
        return self._reach


def load_identity(context: ClusterContext) -> Identity:
    """The files of a context. Raises Unreachable naming the one that is missing or no PEM."""
    return Identity(
        ca=_pem(context.ca), certificate=_pem(context.certificate), key=_pem(context.key)
    )


def _pem(file: Path) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Unreachable(
            f"cannot read {file}: {error.strerror}; it must be there to prove who you are"
        ) from error
    if b"-----BEGIN " not in content:
        raise Unreachable(f"{file} is not a PEM file")
    return content


def _put_first(leader: str, untried: list[str], failures: list[Failure]) -> None:
    """Let the replica that leads be tried next, unless it has been."""
    if leader and all(failure.endpoint != leader for failure in failures):
        if leader in untried:
            untried.remove(leader)
        untried.insert(0, leader)
