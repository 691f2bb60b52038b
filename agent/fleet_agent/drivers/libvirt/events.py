"""Which lifecycle events are news: those that the driver's own acts do not explain.

A caller that hears of its own starts and stops would plan anew at each of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from enum import IntEnum


class Lifecycle(IntEnum):
    """The events that matter here; values of libvirt's virDomainEventType, a stable ABI."""

    UNDEFINED = 1
    STARTED = 2
    SUSPENDED = 3  # by somebody, or after an error
    RESUMED = 4
    STOPPED = 5
    CRASHED = 8


_KNOWN = frozenset(Lifecycle)


class Expected:
    """Events that acts under way are about to cause. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._coming: set[tuple[str, int]] = set()
        self._paused: set[str] = set()

    def expect(self, name: str, event: Lifecycle) -> None:
        with self._lock:
            self._coming.add((name, event))

    def withdraw(self, name: str, event: Lifecycle) -> None:
        """The act failed, so the event does not come."""
        with self._lock:
            self._coming.discard((name, event))

    def note_paused(self, names: Iterable[str]) -> None:
        """These do not run, and no others: what is told of their going on is news."""
        with self._lock:
            self._paused = set(names)

    def withdraw_all(self) -> None:
        """The connection was lost, and with it whatever was on its way."""
        with self._lock:
            self._coming.clear()

    def is_news(self, name: str, event: int) -> bool:
        """Whether an event that has come was caused by somebody else. Asked once an event."""
        if event not in _KNOWN:
            return False
        with self._lock:
            if (name, event) in self._coming:
                self._coming.remove((name, event))
                return False
            if event == Lifecycle.SUSPENDED:
                self._paused.add(name)
            # Each start of a QEMU is told as a resumption as well.
            return event != Lifecycle.RESUMED or name in self._paused
