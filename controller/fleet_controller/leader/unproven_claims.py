"""Hosts that claim to know more than the store, and prove nothing: what each claims, and when last.

Such a host is distrusted. It takes no orders of this leader, and nothing follows from what it says
for others; it is there, and is not lost by time for as long as it answers so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from fleet.keys import Epoch


class UnprovenClaim(NamedTuple):
    """`epoch`: of the assignment that the host holds; None where it has refused a term. `at`: on
    the leader's monotonic clock, in seconds."""

    why: str
    epoch: Epoch | None
    at: float


class UnprovenClaims:
    """By host; one leadership's. The store's doubts write it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._claims: dict[str, UnprovenClaim] = {}

    def __len__(self) -> int:
        return len(self._claims)

    def __contains__(self, host: str) -> bool:
        return host in self._claims

    @property
    def hosts(self) -> list[str]:
        return sorted(self._claims)

    def why(self, host: str) -> str:
        """What the host claims, as a sentence; empty: nothing that it cannot prove."""
        claim = self._claims.get(host)
        return claim.why if claim else ""

    def epoch(self, host: str) -> Epoch | None:
        """The assignment that it claims to hold; None: it claims none."""
        claim = self._claims.get(host)
        return claim.epoch if claim else None

    def answered(self, host: str) -> float:
        """When it claimed so last; long ago where it never did."""
        claim = self._claims.get(host)
        return claim.at if claim else -math.inf

    # ---- for the store's doubts ----------------------------------------------------------

    def note(self, host: str, why: str, epoch: Epoch | None = None) -> bool:
        """The host claims this; whether it is distrusted from now on."""
        fresh = host not in self._claims
        self._claims[host] = UnprovenClaim(why, epoch, self._clock())
        return fresh

    def forget(self, host: str) -> None:
        """It claims nothing any more, or is known no more."""
        self._claims.pop(host, None)
