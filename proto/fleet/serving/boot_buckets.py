"""How long VMs take from their start until they are ready, as agents count it and tell leaders."""

from __future__ import annotations

from bisect import bisect_left

# Seconds: the highest of each bucket; one more holds whatever takes longer. A leader adds up
# buckets of many agents, so they never change: only new fields may have others.
BOOT_BOUNDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
BUCKETS = len(BOOT_BOUNDS) + 1


def bucket_of(seconds: float) -> int:
    """From 0."""
    return bisect_left(BOOT_BOUNDS, seconds)
