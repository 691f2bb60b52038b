"""A bidirectional call: its requests are kept until a replica takes the call.

Requests come from one iterator that can be read once; replicas that do not take the call must not
swallow any of them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Generic, TypeAlias, TypeVar

import grpc

from fleet.transport import TAKEN_METADATA
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from megafleet.connection.change_deadline import change_metadata
from megafleet.connection.replicas.failure import failure_of
from megafleet.connection.replicas.replicas import Replicas
from megafleet.errors import MegafleetError

Q = TypeVar("Q")
A = TypeVar("A")

BidiRpc: TypeAlias = "Callable[[ClusterServiceStub], grpc.StreamStreamMultiCallable[Q, A]]"


class RequestBuffer(Generic[Q]):
    """The requests, read from their source by a thread of its own from the first replay on."""

    def __init__(self, source: Iterable[Q]) -> None:
        self._source = source
        self._kept: deque[Q] = deque()
        self._dropped = 0  # how many came before the first one kept
        self._over = False
        self._taken = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True, name="requests")

    def replay(self) -> RequestReplay[Q]:
        """All requests from the beginning. One at a time."""
        if not self._reader.ident:
            self._reader.start()
        return RequestReplay(self)

    def drop_what_is_sent(self) -> None:
        """A replica has taken the call: no other will need what was sent to it."""
        self._taken = True

    def wait_for(self, position: int, is_closed: Callable[[], bool]) -> Q:
        """The request at this position, from 0. Raises StopIteration after the last one, and once
        `is_closed` says so."""
        with self._changed:
            self._changed.wait_for(
                lambda: is_closed() or self._over or position < self._dropped + len(self._kept)
            )
            if is_closed() or position >= self._dropped + len(self._kept):
                raise StopIteration
            request = self._kept[position - self._dropped]
            if self._taken:
                while self._dropped <= position:
                    self._kept.popleft()
                    self._dropped += 1
            return request

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _read(self) -> None:
        try:
            for request in self._source:
                with self._changed:
                    self._kept.append(request)
                    self._changed.notify_all()
        finally:
            self._over = True
            self.wake()


class RequestReplay(Generic[Q]):
    """The requests as one call sends them."""

    def __init__(self, buffer: RequestBuffer[Q]) -> None:
        self._buffer = buffer
        self._position = 0
        self._closed = False

    def __iter__(self) -> RequestReplay[Q]:
        return self

    def __next__(self) -> Q:
        request = self._buffer.wait_for(self._position, lambda: self._closed)
        self._position += 1
        return request

    def close(self) -> None:
        self._closed = True
        self._buffer.wake()


class NotTaken(Exception):
    """The replica did not take the call; `silent`: it did not answer at all in time."""

    def __init__(self, error: grpc.RpcError, silent: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.silent = silent


class BidiCall(Generic[A]):
    """A call that a replica has taken: iterate over its answers; `cancel` from any thread ends
    that without an error."""

    def __init__(
        self,
        call: Any,
        requests: RequestReplay[Any],
        first: list[A],
        trouble_of: Callable[[grpc.RpcError], MegafleetError],
    ) -> None:
        """`first`: the answer that was read already, if any."""
        self._shown: Callable[[A], A] = lambda answer: answer
        self._call = call
        self._requests = requests
        self._first = first
        self._trouble_of = trouble_of
        self._cancelled = False

    def as_shown(self, shown: Callable[[A], A]) -> BidiCall[A]:
        """The same, whose answers are made so first."""
        self._shown = shown
        return self

    def __iter__(self) -> Iterator[A]:
        return self

    def __next__(self) -> A:
        if self._first:
            return self._shown(self._first.pop())
        try:
            return self._shown(next(self._call))
        except StopIteration:
            self._requests.close()
            raise
        except grpc.RpcError as error:
            self._requests.close()
            if self._cancelled:
                raise StopIteration from None
            raise self._trouble_of(error) from error
        except BaseException:  # Ctrl-C
            self.cancel()
            raise

    def cancel(self) -> None:
        self._cancelled = True
        self._call.cancel()
        self._requests.close()


def bidi_call(
    replicas: Replicas, rpc: BidiRpc[Q, A], requests: Iterable[Q], seconds: float, change: str
) -> BidiCall[A]:
    """The call at the first replica that takes it within so many seconds. Raises MegafleetError."""
    buffer = RequestBuffer(requests)
    deadline = replicas.clock() + seconds
    while True:
        rotation = replicas.rotation()
        while rotation.left:
            endpoint, most = rotation.next(deadline - replicas.clock())
            rest = max(0.1, deadline - replicas.clock())
            share = min(rest / (rotation.left + 1), max(0.1, most))
            try:
                call = _begun(replicas, rpc, endpoint, buffer, share, seconds, change)
            except NotTaken as refusal:
                failure = failure_of(endpoint, refusal.error)
                if refusal.silent:
                    failure = replace(failure, code=grpc.StatusCode.DEADLINE_EXCEEDED)
                if not failure.elsewhere:
                    raise replicas.trouble([failure], share) from refusal
                rotation.failed(failure)
            else:
                replicas.answered(endpoint)
                return call
        replicas.pause_or_raise(rotation, deadline, seconds)


def _begun(
    replicas: Replicas,
    rpc: BidiRpc[Q, A],
    endpoint: str,
    buffer: RequestBuffer[Q],
    share: float,
    limit: float,
    change: str,
) -> BidiCall[A]:
    """At one replica, within its share of the seconds. Raises NotTaken."""

    def trouble_of(error: grpc.RpcError) -> MegafleetError:
        return replicas.trouble([failure_of(endpoint, error)], limit)

    stub = replicas.stub(endpoint)
    try:
        metadata, left = change_metadata(stub, change, share, replicas.clock)
    except grpc.RpcError as error:
        raise NotTaken(error, silent=False) from error
    requests = buffer.replay()
    call = rpc(stub)(requests, metadata=metadata)
    first = _first_answer(call, requests, left)
    buffer.drop_what_is_sent()
    return BidiCall(call, requests, first, trouble_of)


def _first_answer(call: Any, requests: RequestReplay[Any], seconds: float) -> list[Any]:
    """Awaits that the replica takes the call: it says so, or answers; then the answer is returned.
    Raises NotTaken; also after so many seconds without a word."""
    silent = threading.Event()

    def give_up() -> None:
        silent.set()
        call.cancel()

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        return [] if _is_taken(call) else [next(call)]
    except StopIteration:
        return []
    except grpc.RpcError as error:
        requests.close()
        raise NotTaken(error, silent.is_set()) from error
    except BaseException:  # Ctrl-C
        requests.close()
        call.cancel()
        raise
    finally:
        timer.cancel()


def _is_taken(call: Any) -> bool:
    return any(key == TAKEN_METADATA for key, _ in call.initial_metadata() or ())
