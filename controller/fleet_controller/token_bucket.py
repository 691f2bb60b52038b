"""How fast somebody may go on: so much a second, and so much at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst`: what may be taken at once after a rest."""

    per_second: float
    burst: float


class TokenBucket:
    """Full at first. Times are of any monotonic clock, in seconds."""

    __slots__ = ("_at", "_spent")

    def __init__(self) -> None:
        self._spent = 0.0  # of the burst, as of `_at`
        self._at = 0.0

    def take(self, amount: float, now: float, rate: Rate) -> float:
        """Take so much at once. 0 where it was there; else nothing is taken, and this is in how
        many seconds it will be."""
        wait = self.due_in(amount, now, rate)
        if not wait:
            self._spent += amount
        return wait

    def due_in(self, amount: float, now: float, rate: Rate) -> float:
        """In how many seconds so much may be taken; 0: now."""
        self._spent = max(0.0, self._spent - (now - self._at) * rate.per_second)
        self._at = now
        return max(0.0, self._spent + amount - rate.burst) / rate.per_second

    def is_full(self, now: float, rate: Rate) -> bool:
        """Whether it is as a new one would be."""
        return self._spent <= (now - self._at) * rate.per_second
