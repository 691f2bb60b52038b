"""Calls to the controller: any replica that answers, a deadline on all, errors as sentences.

No change is begun once nobody waits for it any more (`change_deadline.py`).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

from fleet.changes.change_id import format_change_id
from megafleet.connection.calls.bidi_call import BidiCall, BidiRpc, bidi_call
from megafleet.connection.calls.read_only import ReadOnly
from megafleet.connection.calls.streams import StreamRpc, follow, stream
from megafleet.connection.calls.unary_call import CallKind, UnaryCall, UnaryRpc
from megafleet.connection.cancellation import Cancellation
from megafleet.connection.plain_texts import plain
from megafleet.connection.replicas.replicas import Replicas
from megafleet.connection.waiting import Waiting, no_sign
from megafleet.contexts import ClusterContext
from megafleet.deadlines import CHANGE_TIMEOUT, READ_TIMEOUT
from megafleet.errors import NoAnswer

Q = TypeVar("Q")
A = TypeVar("A")


@dataclass(slots=True)
class Cluster:
    """The controller of one cluster, whichever replica it is. Timeouts are in seconds."""

    context: ClusterContext
    timeout: float = READ_TIMEOUT
    change_timeout: float = CHANGE_TIMEOUT
    clock: Callable[[], float] = time.monotonic
    waiting: Waiting = no_sign  # what tells people that an answer is awaited
    recalled: bool = True  # whether answers of the past will do while no controller leads
    plain: bool = False  # whether texts of answers are shown, and so made safe for a terminal
    # Of the last answer, where it was made from what a replica knew last.
    read_only: ReadOnly | None = None
    # The id of all that this changes, and whether anything was changed, or may have been.
    change_id: str = field(default_factory=lambda: format_change_id(os.urandom(6)))
    changed: bool = False
    replicas: Replicas | None = None  # those that others call too; none: its own
    cancellation: Cancellation = field(default_factory=Cancellation)
    _replicas: Replicas = field(init=False)

    def __post_init__(self) -> None:
        shared = self.replicas or Replicas(self.context, self.clock)
        self._replicas = shared.for_calls_of(self.cancellation)

    def change(
        self,
        rpc: UnaryRpc[Q, A],
        request: Q,
        *,
        again: bool = False,
        timeout: float | None = None,
    ) -> A:
        """As `call`, for what changes something. `again`: the same once more does no harm, as it
        says the whole of what is wanted. Raises MegafleetError."""
        kind = CallKind.REPEATABLE_CHANGE if again else CallKind.CHANGE
        seconds = self.change_timeout if timeout is None else timeout
        call = UnaryCall(self._replicas, rpc, request, kind, seconds, change=self.change_id)
        try:
            answer = self._answer(call)
        except NoAnswer as trouble:
            self.changed = True
            raise NoAnswer(
                f"{trouble.message}; it may have been done all the same, see 'fleetctl history'",
                reason=trouble.reason,
            ) from trouble
        self.changed = True
        return answer

    def call(
        self,
        rpc: UnaryRpc[Q, A],
        request: Q,
        timeout: float | None = None,
        *,
        takes: float = 0.0,
    ) -> A:
        """The answer of the first replica that gives one. `takes`: for how many seconds a replica
        may keep it back, being asked to wait for something. Raises MegafleetError."""
        seconds = self.timeout if timeout is None else timeout
        call = UnaryCall(
            self._replicas, rpc, request, CallKind.READ, seconds, takes, recalled=self.recalled
        )
        return self._answer(call)

    def stream(
        self, rpc: StreamRpc[Q, A], request: Q, timeout: float, *, silence: float = math.inf
    ) -> Iterator[A]:
        """Answers until the timeout, which ends the stream without an error.

        A replica that says nothing for `silence` seconds, or ceases to lead, is left for the next
        one. Raises MegafleetError.
        """
        return map(self._shown, stream(self._replicas, rpc, request, timeout, silence))

    def follow(
        self, rpc: StreamRpc[Q, A], request: Q, *, then: Q | None = None
    ) -> Generator[A, None, None]:
        """Answers until the controller has given all, or the caller goes away: to close the
        iterator, as Ctrl-C does, ends the call.

        When its replica is gone or ceases to lead, another one is asked the same from the
        beginning, for at most the timeout of a call. `then`: the request changes something, and
        this one, which does not, is what is asked once an answer was heard. Raises MegafleetError.
        """
        with self.waiting(0.0) as waiting:
            answers = follow(
                self._replicas, rpc, request, then, self.timeout, waiting, self.change_id
            )
            with closing(answers):
                for answer in answers:
                    self.changed = self.changed or then is not None
                    yield self._shown(answer)

    def bidi_call(self, rpc: BidiRpc[Q, A], requests: Iterable[Q]) -> BidiCall[A]:
        """A call on which both sides send, once a replica has taken it. `requests` is read by a
        thread of its own, and everything it gives reaches the replica that takes the call.

        What happens after that ends the call. Raises MegafleetError, here and while iterating.
        """
        call = bidi_call(self._replicas, rpc, requests, self.timeout, self.change_id)
        return call.as_shown(self._shown)

    def _answer(self, call: UnaryCall[Q, A]) -> A:
        with self.waiting(call.answer_delay):
            answer, self.read_only = call.answer()
        return self._shown(answer)

    def _shown(self, answer: A) -> A:
        return plain(answer, texts=self.plain)
