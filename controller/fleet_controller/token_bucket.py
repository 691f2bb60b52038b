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


# Names remembered before those are dropped of whom nothing is to be remembered any more.
_TIDY = 10_000


class TokenBuckets:
    """One of the same rate for each name. Names come from outside: so many of them cost no more
    than a look at all now and then."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._buckets: dict[str, TokenBucket] = {}
        self._tidy_at = _TIDY

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str, now: float, amount: float = 1) -> float:
        """As of a bucket."""
        if name not in self._buckets:
            self._make_room(now)
            self._buckets[name] = TokenBucket()
        return self._buckets[name].take(amount, now, self._rate)

    def due_in(self, name: str, now: float) -> float:
        """As of a bucket, of one."""
        bucket = self._buckets.get(name)
        return bucket.due_in(1, now, self._rate) if bucket else 0.0

    def _make_room(self, now: float) -> None:
        if len(self._buckets) < self._tidy_at:
            return
        kept = self._buckets.items()
        self._buckets = {name: one for name, one in kept if not one.is_full(now, self._rate)}
        self._tidy_at = max(_TIDY, 2 * len(self._buckets))
