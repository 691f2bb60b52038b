"""Calls with many answers, which go on at another replica when theirs is gone."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TypeAlias, TypeVar

import grpc

from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from megafleet.connection.calls.silent_streams import StreamedAnswers, StreamSilent
from megafleet.connection.change_deadline import NO_CHANGE_DEADLINE, change_metadata
from megafleet.connection.replicas.failure import failure_of
from megafleet.connection.replicas.replicas import Replicas
from megafleet.connection.waiting import WaitingSign

Q = TypeVar("Q")
A = TypeVar("A")

StreamRpc: TypeAlias = "Callable[[ClusterServiceStub], grpc.UnaryStreamMultiCallable[Q, A]]"


def stream(
    replicas: Replicas, rpc: StreamRpc[Q, A], request: Q, timeout: float, silence: float
) -> Generator[A, None, None]:
    """Answers until the timeout, which ends the stream without an error.

    A replica that says nothing for `silence` seconds, or ceases to lead, is left for the next
    one. Raises MegafleetError.
    """
    rotation = replicas.rotation()
    while rotation.left:
        endpoint, most = rotation.next(timeout)
        heard = False
        replicas.cancellation.check()
        call = rpc(replicas.stub(endpoint))(request, timeout=timeout)
        answers = StreamedAnswers(call, min(silence, most + 1))
        try:
            with replicas.cancellation.ending_by(answers.end):
                for answer in answers:
                    heard = True
                    replicas.answered(endpoint)
                    yield answer
            return
        except grpc.RpcError as error:
            failure = failure_of(endpoint, error)
            if isinstance(error, StreamSilent):
                failure = replace(failure, message=f"{endpoint} has stopped answering")
            elif heard and failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
                return
            if not failure.elsewhere:
                raise replicas.trouble([failure], timeout) from error
            if heard:  # it no longer leads, or is no longer there: all others are worth a try
                rotation.restart(without=endpoint)
            rotation.failed(failure)
        finally:
            call.cancel()
    raise replicas.trouble(rotation.failures, timeout)


def follow(
    replicas: Replicas,
    rpc: StreamRpc[Q, A],
    request: Q,
    then: Q | None,
    seconds: float,
    waiting: WaitingSign,
    change: str,
) -> Generator[A, None, None]:
    """Answers until the controller has given all; see Cluster.follow. `seconds`: for how long
    replicas are looked for; `change`: the id of what it changes, where it does; `waiting` is
    closed at the first answer. Raises MegafleetError."""
    deadline = replicas.clock() + seconds
    while True:
        rotation = replicas.rotation()
        while rotation.left:
            endpoint, _ = rotation.next(deadline - replicas.clock())
            call: grpc._CallIterator[A] | None = None
            try:
                stub, metadata = replicas.stub(endpoint), NO_CHANGE_DEADLINE
                if then is not None:
                    share = max(0.1, deadline - replicas.clock()) / (rotation.left + 1)
                    metadata, _ = change_metadata(stub, change, share, replicas.clock)
                replicas.cancellation.check()
                call = rpc(stub)(request, metadata=metadata)
                with replicas.cancellation.ending_by(call.cancel):
                    for answer in call:
                        waiting.close()
                        replicas.answered(endpoint)
                        if then is not None:
                            request, then = then, None
                        yield answer
                        deadline = replicas.clock() + seconds
                return
            except grpc.RpcError as error:
                failure = failure_of(endpoint, error)
                if not failure.elsewhere:
                    raise replicas.trouble([failure], seconds) from error
                rotation.failed(failure)
            finally:
                if call is not None:
                    call.cancel()
        replicas.pause_or_raise(rotation, deadline, seconds)
