"""How one host behaves on its link: whether it keeps to its pace, and for how long it is left
alone when it does not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from fleet_controller.token_bucket import Rate, TokenBucket


@dataclass(frozen=True, slots=True)
class ConductSettings:
    """Seconds. A host that misbehaves is left alone for `first_wait`, doubled up to `last_wait`;
    it is forgiven once it was live for `forgive_after` and did nothing of the kind."""

    first_wait: float = 5.0
    last_wait: float = 300.0
    forgive_after: float = 600.0


# An honest agent sends at most one report in each interval of its pace, and one more at the moment
# when it has converged. A leader that was held up finds those of the meantime at once.
_REPORTS_AN_INTERVAL = 2.0
_LEAST_BURST = 128.0
_BURST_SECONDS = 30.0
# Reports of the largest size: so many at once, as after a stream was opened several times; and so
# many in one interval, or in a second where that is longer.
_LARGEST_AT_ONCE = 16
_LARGEST_AN_INTERVAL = 2.0


class Conduct:
    """`why`: what it did last that no agent may, in words; empty: nothing, or it is forgiven.
    `left_alone`: it answers, and is not asked for now. Times are of one monotonic clock."""

    __slots__ = ("_accused", "_bytes", "_reports", "left_alone", "wait", "why")

    def __init__(self) -> None:
        self.why = ""
        self.left_alone = False
        self.wait = 0.0  # seconds for which it is left alone
        self._accused = -math.inf
        self._reports = TokenBucket()
        self._bytes = TokenBucket()

    def accuse(self, why: str, now: float, settings: ConductSettings) -> None:
        """It has misbehaved."""
        self.why = why
        self.left_alone = True
        self.wait = min(max(settings.first_wait, 2 * self.wait), settings.last_wait)
        self._accused = now

    def was_asked_again(self) -> None:
        """It is not left alone any more: where it does not answer, that is its own silence."""
        self.left_alone = False

    def forgive(self, live_since: float, now: float, settings: ConductSettings) -> bool:
        """The host is live; whether all is forgotten now."""
        if not self.why or now - max(live_since, self._accused) < settings.forgive_after:
            return False
        self.why, self.wait = "", 0.0
        return True

    def too_fast(self, size: int, most_bytes: int, interval: float, now: float) -> str:
        """A report of so many bytes has come: what of its pace the host breaks with it, in words
        without its name; empty: nothing. `interval`: seconds of the pace between two reports;
        `most_bytes`: of one honest report."""
        pace = _bounds_of(most_bytes, interval)
        if self._reports.take(1, now, pace.reports):
            return f"sends more reports than its pace, one in {interval:g} s, allows"
        if self._bytes.take(size, now, pace.volume):
            return f"sends more than {pace.volume.per_second:,.0f} bytes a second in its reports"
        return ""


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Reports, and bytes of them."""

    reports: Rate
    volume: Rate


@lru_cache(maxsize=1024)
def _bounds_of(most_bytes: int, interval: float) -> _Bounds:
    """Few paces and sizes of hosts are about at a time, and every report asks."""
    per_second = _REPORTS_AN_INTERVAL / interval
    reports = Rate(per_second, max(_LEAST_BURST, _BURST_SECONDS * per_second))
    bytes_per_second = _LARGEST_AN_INTERVAL * most_bytes / max(interval, 1.0)
    return _Bounds(reports, Rate(bytes_per_second, _LARGEST_AT_ONCE * most_bytes))
