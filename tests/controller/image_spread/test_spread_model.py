"""The relay at the size it is made for, in a model: 1 GiB on 4,480 hosts of 1 Gb/s each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from fleet.image_content.manifest import CHUNK
from fleet_controller.core.image_spread.sources import STRIPES, Reading, sources
from tests.controller.image_spread.test_sources import NOBODY, cluster, depths

RATE = 125e6  # bytes a second, each way
IMAGE = 1 << 30


@dataclass
class Spread:
    """Seconds until the last host has all, and images' worth that each host uploads."""

    seconds: float
    uploads: dict[str, float]


def played(racks: int, of: int, image: int = IMAGE) -> Spread:
    """Chunks go down the trees in order. A host's upload is shared evenly by its readers, its
    download by both stripes, the whole time; a chunk is handed on when it is there whole."""
    hosts = cluster(racks, of)
    found = sources(hosts, {}, NOBODY)
    readers = Counter(found.values())
    chunks = image // CHUNK // STRIPES
    arrived: dict[Reading, np.ndarray] = {}
    last = 0.0
    for reading in sorted(found, key=depths(hosts, found).__getitem__):
        source = found[reading]
        above = arrived.get(Reading(source, reading.stripe))
        each = CHUNK / min(RATE / readers[source], RATE / STRIPES)
        # When each is there: the source must have it, and the one before must be through.
        ready = np.zeros(chunks) if above is None else above
        steps = np.arange(1, chunks + 1) * each
        times = np.maximum.accumulate(ready - (steps - each)) + steps
        arrived[reading] = times
        last = max(last, float(times[-1]))
    return Spread(last, {name: count / STRIPES for name, count in readers.items()})


@pytest.mark.parametrize(("racks", "of"), [(140, 32), (448, 10), (1, 4480)])
def test_a_gib_is_on_4480_hosts_in_the_time_of_three_transfers_and_the_source_sends_four(
    racks: int, of: int
) -> None:
    spread = played(racks, of)
    one_transfer = IMAGE / RATE
    print(f"{racks} racks: {spread.seconds / one_transfer:.3f} transfers,", end=" ")
    print(f"the source uploads {spread.uploads['h000-00']:.1f} images,", end=" ")
    print(f"the busiest host {max(spread.uploads.values()):.1f}")
    assert spread.seconds <= 1.5 * one_transfer
    assert spread.uploads["h000-00"] <= 2
    assert max(spread.uploads.values()) <= 2
