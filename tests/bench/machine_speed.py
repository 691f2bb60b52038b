"""How fast this machine is just now: a virtual one shares its cores with others."""

from __future__ import annotations

import statistics
import time

_STEPS, _ROUNDS = 1_000_000, 5


def loop_ms() -> float:
    """CPU milliseconds of a loop of a million steps, the median of five: what is measured while
    it is high was measured on a slow machine. It is of one moment, and of one core."""
    return round(statistics.median(_round() for _ in range(_ROUNDS)), 1)


def _round() -> float:
    began, total = time.process_time(), 0
    for step in range(_STEPS):
        total += step * step
    return 1000 * (time.process_time() - began)
