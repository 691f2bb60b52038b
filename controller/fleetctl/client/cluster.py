"""Calls to the controller: any replica that answers, a deadline on all, errors as sentences.

What only reads is asked of one replica after another until one answers, and so is a change that
does no harm when it is done twice. Any other change is asked again only where it is certain that
nothing of it was begun. No change is begun once nobody waits for it any more (`bounds.py`).
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TypeVar

import grpc

from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from fleetctl.client.bidi_call import Conversation, NotTaken, Said, opened
from fleetctl.client.change_deadline import NO_CHANGE_DEADLINE, change_deadline
from fleetctl.client.channels import Reach
from fleetctl.client.contexts import ClusterContext
from fleetctl.client.endpoint_rotation import Round
from fleetctl.client.failure import Failure, failure_of, most_telling, trouble
from fleetctl.client.own_certificate import fault, load_identity
from fleetctl.client.read_only import ReadOnly, read_only_mark
from fleetctl.client.silent_streams import Answers, SaysNothing
from fleetctl.client.waiting_note import PATIENCE_SECONDS, Patience
from fleetctl.outcome import NoAnswer, Trouble, Unavailable, Unreachable

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
    def __init__(self, round_: Round) -> None:
        super().__init__(round_.failures)
        self.round = round_


@dataclass(slots=True)
class Cluster:
    """The controller of one cluster, whichever replica it is. Timeouts are in seconds."""

    context: ClusterContext
    timeout: float
    change_timeout: float = CHANGE_TIMEOUT
    clock: Callable[[], float] = time.monotonic
    tells_waiting: bool = False  # whether nothing else on the terminal tells of progress
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
        timeout: float | None = None,
    ) -> A:
        """As `call`, for what changes something. `again`: the same once more does no harm, as it
        says the whole of what is wanted. Raises Trouble."""
        limit = self.change_timeout if timeout is None else timeout
        try:
            return self._ask(rpc, request, limit, _Manner.AGAIN if again else _Manner.ONCE)
        except NoAnswer as trouble:
            raise NoAnswer(
                f"{trouble.message}; it may have been done all the same, see 'fleetctl history'",
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
        with self._waiting(takes):
            while True:
                try:
                    return self._ask_each(rpc, request, deadline, manner, takes)
                except _NobodyAnswered as nobody:
                    failures += nobody.round.failures
                    if not nobody.round.electing or self.clock() + ELECTION_PAUSE >= deadline:
                        # The last round may have had no time left: an earlier one says more.
                        raise self._failed(failures, limit, manner) from nobody
                time.sleep(ELECTION_PAUSE)

    def _waiting(self, takes: float = 0.0) -> Patience:
        shown = self.tells_waiting and sys.stderr.isatty()
        return Patience("waiting for a controller to answer", takes + PATIENCE_SECONDS, shown)

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
        round_ = self._round()
        while round_.left:
            endpoint, most = round_.next(deadline - self.clock())
            share = max(0.1, deadline - self.clock() - takes) / (round_.left + 1) + takes
            share = min(share, max(0.1, most))
            bound, left, sent = NO_CHANGE_DEADLINE, share, manner is _Manner.READ
            try:
                stub = self._reached.stub(endpoint)
                if not sent:
                    bound, left = change_deadline(stub, share, self.clock)
                    sent = True
                answer, call = rpc(stub).with_call(request, timeout=left, metadata=bound)
            except grpc.RpcError as error:
                failure = replace(failure_of(endpoint, error), sent=sent)
                if not failure.elsewhere or (manner is _Manner.ONCE and not failure.untouched):
                    raise self._failed([failure], share, manner) from error
                round_.failed(failure)
            else:
                mark = read_only_mark(call.trailing_metadata())
                if mark is None:
                    self._first, self.read_only = endpoint, None
                    return answer
                recalled = recalled or (answer, mark)
        if recalled is not None:
            answer, self.read_only = recalled
            return answer
        raise _NobodyAnswered(round_)

    def _failed(self, failures: list[Failure], limit: float, manner: _Manner) -> Trouble:
        """What people are told; NoAnswer where a change may have been begun."""
        told = self._trouble(failures, limit)
        begun = any(one.elsewhere and not one.untouched for one in failures)
        if manner is _Manner.READ or not isinstance(told, Unavailable):
            return told
        if begun:
            return NoAnswer(told.message, reason=told.reason)
        if isinstance(told, NoAnswer):
            return Unavailable(f"{told.message}; nothing was changed", reason=told.reason)
        return told

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
        round_ = self._round()
        while round_.left:
            endpoint, most = round_.next(timeout)
            heard = False
            call = rpc(self._reached.stub(endpoint))(request, timeout=timeout)
            try:
                for answer in Answers(call, min(silence, most + 1)):
                    self._first, heard = endpoint, True
                    yield answer
                return
            except grpc.RpcError as error:
                failure = failure_of(endpoint, error)
                if isinstance(error, SaysNothing):
                    failure = replace(failure, message=f"{endpoint} has stopped answering")
                elif heard and failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
                    return
                if not failure.elsewhere:
                    raise self._trouble([failure], timeout) from error
                if heard:  # it no longer leads, or is no longer there: all others are worth a try
                    round_.begin_anew(without=endpoint)
                round_.failed(failure)
            finally:
                call.cancel()
        raise self._trouble(round_.failures, timeout)

    def follow(
        self,
        rpc: Callable[[ClusterServiceStub], grpc.UnaryStreamMultiCallable[Q, A]],
        request: Q,
        *,
        then: Q | None = None,
    ) -> Iterator[A]:
        """Answers until the controller has given all, or the caller goes away: to close the
        iterator, as Ctrl-C does, ends the call.

        When its replica is gone or ceases to lead, another one is asked the same from the
        beginning, for at most the timeout of a call. `then`: the request changes something, and
        this one, which does not, is what is asked once an answer was heard. Raises Trouble.
        """
        deadline = self.clock() + self.timeout
        with self._waiting() as waiting:
            yield from self._follow(rpc, request, then, deadline, waiting)

    def _follow(
        self,
        rpc: Callable[[ClusterServiceStub], grpc.UnaryStreamMultiCallable[Q, A]],
        request: Q,
        then: Q | None,
        deadline: float,
        waiting: Patience,
    ) -> Iterator[A]:
        while True:
            round_ = self._round()
            while round_.left:
                endpoint, _ = round_.next(deadline - self.clock())
                call: grpc._CallIterator[A] | None = None
                try:
                    stub, bound = self._reached.stub(endpoint), NO_CHANGE_DEADLINE
                    if then is not None:
                        share = max(0.1, deadline - self.clock()) / (round_.left + 1)
                        bound, _ = change_deadline(stub, share, self.clock)
                    call = rpc(stub)(request, metadata=bound)
                    for answer in call:
                        waiting.over()
                        self._first = endpoint
                        if then is not None:
                            request, then = then, None
                        yield answer
                        deadline = self.clock() + self.timeout
                    return
                except grpc.RpcError as error:
                    failure = failure_of(endpoint, error)
                    if not failure.elsewhere:
                        raise self._trouble([failure], self.timeout) from error
                    round_.failed(failure)
                finally:
                    if call is not None:
                        call.cancel()
            self._pause_or_raise(round_, deadline)

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
            round_ = self._round()
            while round_.left:
                endpoint, most = round_.next(deadline - self.clock())
                share = min(max(0.1, deadline - self.clock()) / (round_.left + 1), max(0.1, most))
                try:
                    return self._opened(rpc, endpoint, said, share)
                except NotTaken as refusal:
                    failure = failure_of(endpoint, refusal.error)
                    if refusal.silent:
                        failure = replace(failure, code=grpc.StatusCode.DEADLINE_EXCEEDED)
                    if not failure.elsewhere:
                        raise self._trouble([failure], share) from refusal
                    round_.failed(failure)
            self._pause_or_raise(round_, deadline)

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

        stub = self._reached.stub(endpoint)
        try:
            bound, seconds = change_deadline(stub, seconds, self.clock)
        except grpc.RpcError as error:
            raise NotTaken(error, silent=False) from error
        conversation = opened(
            lambda hearing: rpc(stub)(hearing, metadata=bound), said, seconds, told
        )
        self._first = endpoint
        return conversation

    def _pause_or_raise(self, round_: Round, deadline: float) -> None:
        """Wait a moment for a leader to be elected; Trouble when nobody else can help."""
        if not round_.electing or self.clock() + ELECTION_PAUSE >= deadline:
            raise self._trouble(round_.failures, self.timeout)
        time.sleep(ELECTION_PAUSE)

    def _trouble(self, failures: list[Failure], limit: float) -> Trouble:
        """What people are told when no replica did it."""
        if most_telling(failures).hung_up and (why := fault(self.context)):
            return Unreachable(f"not allowed: {why}")
        return trouble(failures, limit)

    def _round(self) -> Round:
        return Round(self.context.endpoints, self._first, self._reached)

    @property
    def _reached(self) -> Reach:
        if self._reach is None:
            self._reach = Reach(load_identity(self.context))
        return self._reach
