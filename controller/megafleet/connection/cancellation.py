"""Ends what one thread waits for, from another one: for callers that wait in an event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cancelled(BaseException):
    """Nobody waits for it any more. Never seen by callers: whoever cancels has left."""


class Cancellation:
    """Of one call, or of one stream of answers, with all tries that it takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._endings: list[Callable[[], object]] = []

    def cancel(self) -> None:
        """From any thread. Nothing more is begun, and what is waited for ends."""
        with self._lock:
            self._cancelled.set()
            endings = list(self._endings)
        for end in endings:
            end()

    def check(self) -> None:
        """Raises Cancelled once it is so."""
        if self._cancelled.is_set():
            raise Cancelled

    @contextmanager
    def ending_by(self, end: Callable[[], object]) -> Iterator[None]:
        """While the block runs, `end` is what ends it. Raises Cancelled before it and after it."""
        with self._lock:
            self.check()
            self._endings.append(end)
        try:
            yield
        except Exception:
            self.check()
            raise
        finally:
            with self._lock:
                self._endings.remove(end)

    def pause(self, seconds: float) -> None:
        """Raises Cancelled."""
        self._cancelled.wait(max(0.0, seconds))
        self.check()
