"""How many calls a server has under way: in all, and of each caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import grpc

from fleet.transport import Peer, Refusal, Role


@dataclass(frozen=True, slots=True)
class CallBounds:
    """Calls at once. `by_role`: of one caller; roles not named may have none. `long`: the share
    of a caller's calls that may last, so that short ones always have room."""

    in_all: int
    by_role: Mapping[Role, int]
    long: float = 0.75


class CallCounts:
    """Counts calls from their admission to their end; those above the bounds are refused."""

    def __init__(self, bounds: CallBounds) -> None:
        self._bounds = bounds
        self._all: Counter[Peer] = Counter()
        self._long: Counter[Peer] = Counter()
        self._total = 0

    def counted(
        self, caller: Peer, weight: int = 1, long: bool = False
    ) -> AbstractContextManager[None]:
        """For as long as the call lasts, which counts as so many. Raises Refusal at once when
        there is no room."""
        most = self._bounds.by_role.get(caller.role, 0)
        most_long = int(most * self._bounds.long)
        if self._all[caller] + weight > most:
            raise _too_many(f"{caller} has {self._all[caller]:,} calls under way already")
        if long and self._long[caller] + weight > most_long:
            raise _too_many(
                f"{caller} has {self._long[caller]:,} calls that last under way already"
            )
        if self._total + weight > self._bounds.in_all:
            raise _too_many(f"{self._total:,} calls are under way already")
        return self._counting(caller, weight, long)

    @contextmanager
    def _counting(self, caller: Peer, weight: int, long: bool) -> Iterator[None]:
        counters = (self._all, self._long) if long else (self._all,)
        self._total += weight
        for counter in counters:
            counter[caller] += weight
        try:
            yield
        finally:
            self._total -= weight
            for counter in counters:
                counter[caller] -= weight
                if not counter[caller]:
                    del counter[caller]


def _too_many(why: str) -> Refusal:
    return Refusal(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "TOO_MANY_CALLS",
        f"{why}: end some, or try again later",
    )
