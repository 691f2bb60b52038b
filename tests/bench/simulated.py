"""How fast the simulator plays: fleet-minutes a wall minute, with every kind of trouble."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from tests.bench.measures import Measured
from tests.simulation.__main__ import play_all
from tests.simulation.doubles.cluster import Shape

HOSTS, MINUTES = 50, 10.0
SEEDS = [str(number) for number in range(1, 17)]


def simulated(say: Callable[[str], None], out: Measured) -> None:
    """The same seeds each time, on all processors. Raises RuntimeError when one fails."""
    say(f"{len(SEEDS)} plays of {MINUTES:g} minutes and {HOSTS} simulated hosts")
    shape = Shape(hosts=HOSTS, per_host=20, minutes=MINUTES, hosts_per_rack=HOSTS // 5)
    began, seconds = time.monotonic(), 0.0
    for played in play_all(SEEDS, shape, os.cpu_count() or 1):
        if played.failure:
            raise RuntimeError(f"the play of seed {played.seed} fails: {played.failure}")
        seconds += played.simulated
    rate = seconds / (time.monotonic() - began)
    out.add(f"simulated fleet-minutes a wall minute, {HOSTS} hosts", rate, "", 200, 2000, more=True)
