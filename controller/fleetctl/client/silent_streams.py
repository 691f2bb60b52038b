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


class SaysNothing(grpc.RpcError):
    """Nothing was heard for too long."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return ""


class Answers(Generic[A]):
    """What a call streams. Its errors are raised; SaysNothing after `seconds` without an answer."""

    def __init__(self, call: Iterator[A], seconds: float) -> None:
        self._call = call
        self._seconds = seconds
        self._told: queue.SimpleQueue[tuple[A] | BaseException | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True, name="answers").start()

    def __iter__(self) -> Iterator[A]:
        while True:
            try:
                told = self._told.get(timeout=self._seconds)
            except queue.Empty:
                raise SaysNothing from None
            if told is None:
                return
            if isinstance(told, BaseException):
                raise told
            yield told[0]

    def _read(self) -> None:
        try:
            for answer in self._call:
                self._told.put((answer,))
        except Exception as error:
            self._told.put(error)
        else:
            self._told.put(None)
