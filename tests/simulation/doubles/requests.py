"""What was asked of fleets' totals, and what may therefore be true of them.

A request that was answered stands until one that was made after its answer is answered; of two
whose times overlap either may be the later, as when a controller is stopped before it answers what
it has written. One whose outcome is unknown may come about until a request that was made after it
had ended is answered: from then on it never may.
"""

from __future__ import annotations

from dataclasses import dataclass, field

DELETED = -1  # the total of a fleet that is being deleted


@dataclass(slots=True, eq=False)
class Request:
    """One request for a fleet's total."""

    total: int
    began: float
    ended: float = float("inf")


@dataclass(slots=True)
class FleetRequests:
    """All that was asked of one fleet name and may still come about."""

    open: list[Request] = field(default_factory=list)
    standing: list[Request] = field(default_factory=list)  # that were answered, the newest last

    def begin(self, total: int, now: float) -> Request:
        request = Request(total, now)
        self.open.append(request)
        return request

    @property
    def stands(self) -> int | None:
        """The total that was answered last."""
        return self.standing[-1].total if self.standing else None

    def answered(self, request: Request, now: float) -> None:
        """It stands: what had ended before it began never comes about any more."""
        request.ended = now
        self.standing = [*(one for one in self.standing if one.ended > request.began), request]
        self.open = [one for one in self.open if one is not request and one.ended > request.began]

    def refused(self, request: Request) -> None:
        """It never comes about."""
        self.open = [one for one in self.open if one is not request]

    def unknown(self, request: Request, now: float) -> None:
        request.ended = now

    def begin_anew(self) -> None:
        """The fleet of this name is another one: nothing was asked of it yet."""
        self.standing = []

    def may_be(self, total: int) -> bool:
        """Whether that can be what is wanted now, whoever asks."""
        stands = not self.standing or any(one.total == total for one in self.standing)
        return stands or self.may_become(total)

    def may_become(self, total: int) -> bool:
        return any(one.total == total for one in self.open)
