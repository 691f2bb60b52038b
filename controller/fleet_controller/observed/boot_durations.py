"""How long VMs took to boot, as hosts have told this leader since it began."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from fleet.serving.boot_buckets import BOOT_BOUNDS, BUCKETS
from fleet_controller.token_bucket import Rate, TokenBuckets

# Seconds of one boot that are believed.
_LONGEST = 86_400.0
# Boots of all that a host may have, so often: else one that is broken would be the whole figure.
_RATE = Rate(per_second=1 / 60, burst=2)


class BootDurations:
    """`counts`: VMs in each bucket, not added up; `seconds`: of all of them together."""

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.seconds = 0.0
        self._rates = TokenBuckets(_RATE)

    def add(
        self, host_id: str, counts: Sequence[int], seconds: float, most: int, now: float
    ) -> None:
        """What one report says. Nothing of it is taken where it says of more than the `most` VMs
        that the host may have, too often, or what cannot be: it is a figure, and no reason to leave
        its host."""
        vms = sum(counts)
        if not vms or len(counts) > BUCKETS or vms > most:
            return
        if not (math.isfinite(seconds) and 0 <= seconds <= vms * _LONGEST):
            return
        if self._rates.take(host_id, now, vms / most):
            return
        for bucket, count in enumerate(counts):
            self.counts[bucket] += count
        self.seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus has them: up to each bound, and all."""
        bounds = (*(str(float(bound)) for bound in BOOT_BOUNDS), "+Inf")
        return list(zip(bounds, map(float, accumulate(self.counts)), strict=True))
