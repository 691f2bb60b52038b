"""A call with one answer, made at one replica after another until one answers.

What only reads may be asked of every replica, and so may a change that does no harm when it is
done twice. Any other change is sent again only where it is certain that nothing of it was begun.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Generic, TypeAlias, TypeVar

import grpc

from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from megafleet.connection.calls.read_only import ReadOnly, read_only_mark
from megafleet.connection.change_deadline import (
    NO_CHANGE_DEADLINE,
    Metadata,
    change_metadata,
)
from megafleet.connection.replicas.endpoint_rotation import EndpointRotation
from megafleet.connection.replicas.failure import (
    CallEnded,
    Failure,
    failure_of,
    none_leads,
)
from megafleet.connection.replicas.replicas import ELECTION_PAUSE, Replicas
from megafleet.errors import MegafleetError, NoAnswer, Unavailable

Q = TypeVar("Q")
A = TypeVar("A")

UnaryRpc: TypeAlias = "Callable[[ClusterServiceStub], grpc.UnaryUnaryMultiCallable[Q, A]]"


class CallKind(Enum):
    """What a call does, and so how often it may be made."""

    READ = auto()
    REPEATABLE_CHANGE = auto()  # made twice it does no harm
    CHANGE = auto()


@dataclass(frozen=True, slots=True)
class UnaryCall(Generic[Q, A]):
    """One call. `seconds`: for all replicas together; `answer_delay`: for how many seconds a
    replica may keep its answer back, being asked to wait for something; `change`: the id of what
    it changes, where it does; `recalled`: whether an answer of the past will do."""

    replicas: Replicas
    rpc: UnaryRpc[Q, A]
    request: Q
    kind: CallKind
    seconds: float
    answer_delay: float = 0.0
    change: str = ""
    recalled: bool = True

    def answer(self) -> tuple[A, ReadOnly | None]:
        """The answer, and whether it is of the past. Raises MegafleetError.

        Goes round the replicas for as long as a leader is being elected.
        """
        deadline = self.replicas.clock() + self.seconds
        failures: list[Failure] = []
        while True:
            rotation = self.replicas.rotation()
            if (found := self._first_answer(rotation, deadline)) is not None:
                return found
            failures += rotation.failures
            if not self.replicas.may_go_round_again(rotation, deadline):
                # The last round may have had no time left: an earlier one says more.
                raise self._trouble(failures, self.seconds)
            self.replicas.cancellation.pause(ELECTION_PAUSE)

    def _first_answer(
        self, rotation: EndpointRotation, deadline: float
    ) -> tuple[A, ReadOnly | None] | None:
        """Of one round; None when nobody answered. What a replica only recalls is taken where no
        other knows better. Raises MegafleetError for a refusal."""
        replicas = self.replicas
        recalled: tuple[A, ReadOnly] | None = None
        while rotation.left:
            endpoint, most = rotation.next(deadline - replicas.clock())
            share = self._share(rotation.left + 1, deadline - replicas.clock(), most)
            metadata, left, sent = NO_CHANGE_DEADLINE, share, self.kind is CallKind.READ
            try:
                stub = replicas.stub(endpoint)
                if not sent:
                    metadata, left = change_metadata(stub, self.change, share, replicas.clock)
                    sent = True
                answer, mark = self._asked(stub, left, metadata)
            except grpc.RpcError as error:
                failure = replace(failure_of(endpoint, error), sent=sent)
                if not self._may_ask_another(failure):
                    raise self._trouble([failure], share) from error
                rotation.failed(failure)
            else:
                if mark is None:
                    replicas.answered(endpoint)
                    return answer, None
                if self.recalled:
                    recalled = recalled or (answer, mark)
                else:
                    rotation.failed(none_leads(endpoint, mark.reason))
        return recalled

    def _asked(
        self, stub: ClusterServiceStub, seconds: float, metadata: Metadata
    ) -> tuple[A, ReadOnly | None]:
        """Raises grpc.RpcError, Cancelled."""
        self.replicas.cancellation.check()
        call = self.rpc(stub).future(self.request, timeout=seconds, metadata=metadata)
        try:
            with self.replicas.cancellation.ending_by(call.cancel):
                answer = call.result()
        except grpc.FutureCancelledError as error:  # its channel was closed
            raise CallEnded from error
        except BaseException:  # Ctrl-C
            call.cancel()
            raise
        return answer, read_only_mark(call.trailing_metadata())

    def _share(self, untried: int, rest: float, most: float) -> float:
        """How many seconds of the rest one replica gets; `most` if it is not even connected."""
        share = max(0.1, rest - self.answer_delay) / untried + self.answer_delay
        return min(share, max(0.1, most))

    def _may_ask_another(self, failure: Failure) -> bool:
        return failure.elsewhere and (self.kind is not CallKind.CHANGE or failure.untouched)

    def _trouble(self, failures: list[Failure], limit: float) -> MegafleetError:
        """What people are told; NoAnswer where a change may have been begun."""
        trouble = self.replicas.trouble(failures, limit)
        if self.kind is CallKind.READ or not isinstance(trouble, Unavailable):
            return trouble
        if any(one.elsewhere and not one.untouched for one in failures):
            return NoAnswer(trouble.message, reason=trouble.reason)
        if isinstance(trouble, NoAnswer):
            return Unavailable(f"{trouble.message}; nothing was changed", reason=trouble.reason)
        return trouble
