"""What is told of failing VMs: a kind of failure of a fleet has begun, has grown tenfold, is over.

Pure: what fails is passed in, and time. A failure that comes and goes is held off: it is told once
it has lasted, and over once it has stayed away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

# Seconds: what ends before is not told; what is away for less goes on.
BEGUN_AFTER = 10.0
OVER_AFTER = 60.0
GROWN = 10
# Followed at once. A host makes kinds up: those that most hosts have come first.
MOST = 1_000


class Phase(Enum):
    """The values are kinds of events."""

    BEGUN = "vms_failing"
    GROWN = "vms_failing_more"
    OVER = "vms_failing_over"


@dataclass(frozen=True, slots=True, order=True)
class FailureKind:
    """`fleet`: its uid."""

    fleet: str
    kind: str


@dataclass(frozen=True, slots=True)
class Failing:
    """How many VMs, on how many hosts, and what one of them says."""

    vms: int
    hosts: int
    example: str


@dataclass(frozen=True, slots=True)
class News:
    """`failing`: as it is, when it is over as it was last; `most`: VMs at once since it began;
    `seconds`: since then."""

    phase: Phase
    what: FailureKind
    failing: Failing
    most: int
    seconds: float


@dataclass(slots=True)
class _Followed:
    since: float
    last: Failing
    seen: float  # when it was there last
    most: int
    told: int = 0  # VMs when it was told last; 0: not told


class FailureNews:
    """Of one leadership. Times are in seconds."""

    def __init__(self) -> None:
        self._followed: dict[FailureKind, _Followed] = {}

    def look(self, now: float, failing: Mapping[FailureKind, Failing]) -> list[News]:
        """What is to be told now, given all that fails."""
        self._follow(now, failing)
        return [*self._present(now, failing), *self._absent(now, failing)]

    def _follow(self, now: float, failing: Mapping[FailureKind, Failing]) -> None:
        fresh = failing.keys() - self._followed.keys()
        room = MOST - len(self._followed)
        if len(fresh) > room:
            common = sorted(fresh, key=lambda one: (-failing[one].hosts, -failing[one].vms, one))
            fresh = set(common[: max(0, room)])
        for what in fresh:
            self._followed[what] = _Followed(now, failing[what], now, 0)

    def _present(self, now: float, failing: Mapping[FailureKind, Failing]) -> Iterator[News]:
        for what in sorted(self._followed.keys() & failing.keys()):
            one, seen = self._followed[what], failing[what]
            one.last, one.seen, one.most = seen, now, max(one.most, seen.vms)
            lasted = now - one.since
            if not one.told and lasted >= BEGUN_AFTER:
                one.told = max(1, seen.vms)
                yield News(Phase.BEGUN, what, seen, one.most, lasted)
            elif one.told and seen.vms >= GROWN * one.told:
                one.told = seen.vms
                yield News(Phase.GROWN, what, seen, one.most, lasted)

    def _absent(self, now: float, failing: Mapping[FailureKind, Failing]) -> Iterator[News]:
        for what in sorted(self._followed.keys() - failing.keys()):
            one = self._followed[what]
            if not one.told:
                del self._followed[what]
            elif now - one.seen >= OVER_AFTER:
                del self._followed[what]
                yield News(Phase.OVER, what, one.last, one.most, one.seen - one.since)
