"""How many VMs of each fleet were begun anew on purpose within the last minute.

Kept in memory alone: what was begun before it led, a leader does not know, and says so for a
minute.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

SECONDS = 60.0


class BegunAnew:
    """Of one leadership. `clock`: the leader's monotonic one, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known_from = clock() + SECONDS
        self._done: dict[str, deque[tuple[float, int]]] = defaultdict(deque)  # when, how many
        self._writing: Mapping[str, int] = {}

    @property
    def unknown(self) -> bool:
        return self._clock() < self._known_from

    @contextmanager
    def writing(self, taken: Mapping[str, int]) -> Iterator[None]:
        """So many VMs, by uid, are begun anew by what is written meanwhile. They count from its
        end, whether or not it is known to have come to the store."""
        self._writing = taken
        try:
            yield
        finally:
            now, self._writing = self._clock(), {}
            for uid, count in taken.items():
                self._done[uid].append((now, count))

    def counts(self) -> dict[str, int]:
        """By uid."""
        self._forget()
        counts = {uid: sum(count for _, count in done) for uid, done in self._done.items()}
        for uid, count in self._writing.items():
            counts[uid] = counts.get(uid, 0) + count
        return counts

    def seconds_until_less(self) -> float:
        """Until one of the counts falls, or all are known."""
        self._forget()
        now = self._clock()
        ends = [done[0][0] + SECONDS for done in self._done.values()]
        if now < self._known_from:
            ends.append(self._known_from)
        return max(0.0, min(ends, default=math.inf) - now)

    def _forget(self) -> None:
        old = self._clock() - SECONDS
        for uid, done in list(self._done.items()):
            while done and done[0][0] <= old:
                done.popleft()
            if not done:
                del self._done[uid]
