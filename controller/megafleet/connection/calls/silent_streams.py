"""Answers of a call that may fall silent: a stopped server keeps its connections.

They are read by a thread, and waited for here with a deadline of our own: a call was seen whose
end gRPC never told, long past its deadline and after it had been cancelled.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

import grpc

A = TypeVar("A")


class StreamSilent(grpc.RpcError):
    """The stream gave no answer for too long."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return ""


class StreamedAnswers(Generic[A]):
    """The answers of a call. Its errors are raised; StreamSilent after `seconds` without one."""

    def __init__(self, call: Iterator[A], seconds: float) -> None:
        self._call = call
        self._seconds = seconds
        self._results: queue.SimpleQueue[tuple[A] | BaseException | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True, name="answers").start()

    def end(self) -> None:
        """From any thread: there is nothing more to wait for."""
        self._results.put(StreamSilent())

    def __iter__(self) -> Iterator[A]:
        while True:
            try:
                result = self._results.get(timeout=self._seconds)
            except queue.Empty:
                raise StreamSilent from None
            if result is None:
                return
            if isinstance(result, BaseException):
                raise result
            yield result[0]

    def _read(self) -> None:
        try:
            for answer in self._call:
                self._results.put((answer,))
        except Exception as error:
            self._results.put(error)
        else:
            self._results.put(None)
