"""Calls that are waited for on threads, so that the loop of the screen never is; and how old what
they told is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from fleetctl.output import duration

A = TypeVar("A")

# What is shown is asked for again every so many seconds; what is costly less often, so that a
# screen takes a twentieth of a leader at most.
EVERY, MOST = 2.0, 20.0
SHARE = 20.0
# Seconds until another try, when no controller answers and when one refuses.
AGAIN, AGAIN_REFUSED = 1.0, 5.0
# Seconds after which people are told how old it is, beyond when it was to be asked for again.
OLD = 4.0


class Background:
    """Threads that end with the process: nobody waits for what they wait for."""

    def __init__(self) -> None:
        # Of rows, of the summary, and of what was asked for by a key.
        self._pool = ThreadPoolExecutor(4, "controller")

    def begin(self, ask: Callable[[], A]) -> Future[A]:
        """Before there is a loop."""
        return self._pool.submit(ask)

    async def of(self, ask: Callable[[], A]) -> A:
        """What it answers. Raises Trouble."""
        return await asyncio.wrap_future(self._pool.submit(ask))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


@dataclass(slots=True)
class Age:
    """Since when what is shown is shown, and why nothing newer is. Times are monotonic seconds."""

    heard: float | None = None
    trouble: str = ""
    lost: bool = False  # whether no controller answers; else one has refused
    pause: float = EVERY  # until it is asked for again

    def answered(self, now: float, pause: float = EVERY) -> None:
        self.heard, self.trouble, self.lost, self.pause = now, "", False, pause

    def failed(self, why: str, *, lost: bool) -> None:
        self.trouble, self.lost = why, lost

    def text(self, now: float) -> str:
        """Empty where what is shown is of now."""
        if self.heard is None:
            return f"{self.trouble}; trying again" if self.trouble else ""
        age = now - self.heard
        if not self.trouble:
            return f"what is shown is {duration(age)} old; asking" if age > self.pause + OLD else ""
        again = "; trying again" if self.lost else ""
        return f"{self.trouble}; what is shown is {duration(age)} old{again}"


def pause_after(took: float) -> float:
    """Seconds until the same is asked again, which took so many to answer."""
    return max(EVERY, min(SHARE * took, MOST))
