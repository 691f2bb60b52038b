"""Calls to the controller: any replica that answers, a deadline on all, errors as sentences.

Every call may be repeated: each says the whole of what is wanted. So a call that one replica
did not answer is made to the next.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar

import grpc

from fleet.transport import CONTROLLER_NAME, Identity, channel_options
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from fleetctl.contexts import ClusterContext
from fleetctl.failure import NOT_LEADER, Failure, failure_of, most_telling, trouble
from fleetctl.outcome import NoAnswer, Trouble, Unreachable
from fleetctl.own_certificate import fault

Q = TypeVar("Q")
A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)

# A change of the whole fleet is planned and written to the store before it is answered.
CHANGE_TIMEOUT = 30.0
# Between two rounds over the replicas while none of them leads.
ELECTION_PAUSE = 0.2


class _NobodyAnswered(Exception):
    def __init__(self, failures: list[Failure]) -> None:
        super().__init__(failures)
        self.failures = failures


class Conversation(Protocol[A_co]):
    """A call in both directions, as far as it is used."""

    def __iter__(self) -> Iterator[A_co]: ...

    def cancel(self) -> bool: ...


@dataclass(slots=True)
class Cluster:
    """The controller of one cluster, whichever replica it is. Timeouts are in seconds."""

    context: ClusterContext
    timeout: float
    change_timeout: float = CHANGE_TIMEOUT
    clock: Callable[[], float] = time.monotonic
    _stubs: dict[str, ClusterServiceStub] = field(default_factory=dict)
    _identity: Identity | None = None
    _first: str = ""  # the replica that answered last

    def change(
        self,
        rpc: Callable[[ClusterServiceStub], grpc.UnaryUnaryMultiCallable[Q, A]],
        request: Q,
    ) -> A:
        """As `call`, for what changes something. Raises Trouble."""
        try:
            return self.call(rpc, request, self.change_timeout)
        except NoAnswer as trouble:
            raise NoAnswer(
                f"{trouble.message}; the change may still be carried out, see 'fleetctl status'"
            ) from trouble

    def call(
        self,
        rpc: Callable[[ClusterServiceStub], grpc.UnaryUnaryMultiCallable[Q, A]],
        request: Q,
        timeout: float | None = None,
    ) -> A:
        """The answer of the first replica that gives one. Raises Trouble."""
        limit = self.timeout if timeout is None else timeout
        deadline = self.clock() + limit
        failures: list[Failure] = []
        while True:
            try:
                return self._ask_each(rpc, request, deadline)
            except _NobodyAnswered as round_:
                failures += round_.failures
                electing = most_telling(round_.failures).reason == NOT_LEADER
                if not electing or self.clock() + ELECTION_PAUSE >= deadline:
                    # The last round may have had no time left: an earlier one says more.
                    raise self._trouble(failures, limit) from round_
            time.sleep(ELECTION_PAUSE)

    def _ask_each(
        self,
        rpc: Callable[[ClusterServiceStub], grpc.UnaryUnaryMultiCallable[Q, A]],
        request: Q,
        deadline: float,
    ) -> A:
        """One round over the replicas. Raises _NobodyAnswered, or Trouble for a refusal."""
        failures: list[Failure] = []
        untried = self._replicas()
        while untried:
            endpoint = untried.pop(0)
            share = max(0.1, deadline - self.clock()) / (len(untried) + 1)
            try:
                answer = rpc(self._stub(endpoint))(request, timeout=share)
            except grpc.RpcError as error:
                failures.append(failure_of(endpoint, error))
                if not failures[-1].elsewhere:
                    raise self._trouble(failures[-1:], share) from error
                _put_first(failures[-1].leader, untried, failures)
            else:
                self._first = endpoint
                return answer
        raise _NobodyAnswered(failures)

    def stream(
        self,
        rpc: Callable[[ClusterServiceStub], grpc.UnaryStreamMultiCallable[Q, A]],
        request: Q,
        timeout: float,
    ) -> Iterator[A]:
        """Answers until the timeout, which ends the stream without an error.

        A replica that says nothing, or ceases to lead, is left for the next one. Raises Trouble.
        """
        failures: list[Failure] = []
        untried = self._replicas()
        while untried:
            endpoint = untried.pop(0)
            heard = False
            call = rpc(self._stub(endpoint))(request, timeout=timeout)
            try:
                for answer in call:
                    self._first, heard = endpoint, True
                    yield answer
                return
            except grpc.RpcError as error:
                failure = failure_of(endpoint, error)
                if heard and failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
                    return
                if not failure.elsewhere:
                    raise self._trouble([failure], timeout) from error
                if heard:  # it no longer leads, or is no longer there: all others are worth a try
                    failures.clear()
                    untried = [one for one in self._replicas() if one != endpoint]
                failures.append(failure)
                _put_first(failure.leader, untried, failures)
            finally:
                call.cancel()
        raise self._trouble(failures, timeout)

    def converse(
        self, dial: Callable[[ClusterServiceStub], Conversation[A]], timeout: float | None = None
    ) -> Iterator[A]:
        """Answers of a call that goes on in both directions, until either side ends it.

        `dial` begins the call anew with each replica, until one has answered within the timeout;
        with that one it stays. Raises Trouble, whose message says nothing of what broke.
        """
        limit = self.timeout if timeout is None else timeout
        failures: list[Failure] = []
        untried = self._replicas()
        while untried:
            endpoint = untried.pop(0)
            heard = False
            call = dial(self._stub(endpoint))
            silent = threading.Timer(limit, call.cancel)
            silent.start()
            try:
                for answer in call:
                    if not heard:
                        silent.cancel()
                        self._first, heard = endpoint, True
                    yield answer
                return
            except grpc.RpcError as error:
                failure = failure_of(endpoint, error)
                if failure.code is grpc.StatusCode.CANCELLED and not heard:
                    failure = replace(failure, code=grpc.StatusCode.DEADLINE_EXCEEDED)
                if heard or not failure.elsewhere:
                    raise self._trouble([failure], limit) from error
                failures.append(failure)
                _put_first(failure.leader, untried, failures)
            finally:
                silent.cancel()
                call.cancel()
        raise self._trouble(failures, limit)

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

    def _stub(self, endpoint: str) -> ClusterServiceStub:
        if endpoint not in self._stubs:
            if self._identity is None:
                self._identity = load_identity(self.context)
            channel = grpc.secure_channel(
                _target(endpoint),
                self._identity.for_channel(),
                # Fleetctl speaks to the cluster itself, whatever proxies the machine uses.
                options=[*channel_options(CONTROLLER_NAME), ("grpc.enable_http_proxy", 0)],
            )
            self._stubs[endpoint] = ClusterServiceStub(channel)
        return self._stubs[endpoint]


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


def _target(endpoint: str) -> str:
    """Without asking a resolver where the endpoint is an address already."""
    host, _, port = endpoint.rpartition(":")
    if host.startswith("["):
        return f"ipv6:{endpoint}"
    return f"ipv4:{endpoint}" if re.fullmatch(r"[0-9.]+", host) else f"dns:///{host}:{port}"


def _put_first(leader: str, untried: list[str], failures: list[Failure]) -> None:
    """Let the replica that leads be tried next, unless it has been."""
    if leader and all(failure.endpoint != leader for failure in failures):
        if leader in untried:
            untried.remove(leader)
        untried.insert(0, leader)
