"""How often machines without a certificate are heard, and those that have joined answered again."""

from __future__ import annotations

import math

from fleet_controller.core.joining.admission import neighbourhood
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.token_bucket import Rate, TokenBuckets

# Of one address: what was refused. Honest machines are refused when somebody has made a mistake.
_REFUSALS = Rate(per_second=0.5, burst=20)
# Of one host that has joined: answers made again. One that was not answered asks a few times.
_AGAIN = Rate(per_second=1 / 60, burst=10)


class JoinRates:
    """Of one leadership. Times are of the leader's clock."""

    def __init__(self) -> None:
        self._refusals = TokenBuckets(_REFUSALS)  # by neighbourhood
        self._again = TokenBuckets(_AGAIN)  # by host

    def check(self, address: str, now: float) -> None:
        """Raises Refused for an address of which too much was refused lately."""
        if wait := self._refusals.due_in(neighbourhood(address), now):
            raise too_many(f"too much from {address} was refused", wait)

    def note_refusal(self, address: str, now: float) -> None:
        self._refusals.take(neighbourhood(address), now)

    def check_again(self, host: str, now: float) -> None:
        """Raises Refused: each answer is signed anew."""
        if wait := self._again.take(host, now):
            raise too_many(f"{host} has joined, and asks for its answer too often", wait)


def too_many(why: str, wait: float) -> Refused:
    """`wait`: seconds."""
    seconds = str(math.ceil(wait))
    return Refused(
        Reason.TOO_MANY_JOINS, f"{why}; again in {seconds} s", retry_after_seconds=seconds
    )
