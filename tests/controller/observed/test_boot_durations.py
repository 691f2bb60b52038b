"""How long VMs took to boot, added up from what hosts tell."""

from __future__ import annotations

import math

import pytest

from fleet.serving.boot_buckets import BOOT_BOUNDS, BUCKETS, bucket_of
from fleet_controller.observed.boot_durations import BootDurations

ONE_SECOND = [0, 0, 0, 1, *[0] * (BUCKETS - 4)]


def test_what_hosts_tell_is_added_up_by_bucket() -> None:
    boots = BootDurations()
    boots.add("h1", ONE_SECOND, 0.9, 10, 0.0)
    boots.add("h1", [0] * (BUCKETS - 1) + [3], 1_000.0, 10, 0.0)
    assert boots.buckets()[2:5] == [("0.5", 0.0), ("1.0", 1.0), ("2.5", 1.0)]
    assert boots.buckets()[-2:] == [("300.0", 1.0), ("+Inf", 4.0)]
    assert boots.seconds == 1_000.9


@pytest.mark.parametrize(
    ("counts", "seconds"),
    [
        ([0] * BUCKETS, 5.0),
        ([11], 5.0),
        ([1] * (BUCKETS + 1), 5.0),
        (ONE_SECOND, math.nan),
        (ONE_SECOND, math.inf),
        (ONE_SECOND, -1.0),
        (ONE_SECOND, 1e6),
    ],
)
def test_what_cannot_be_is_left_out(counts: list[int], seconds: float) -> None:
    boots = BootDurations()
    boots.add("h1", counts, seconds, 10, 0.0)
    assert not any(boots.counts) and boots.seconds == 0


def test_one_host_is_not_the_whole_figure_however_often_it_tells() -> None:
    boots = BootDurations()
    for tenth in range(600):
        boots.add("h1", [10], 0.0, 10, tenth / 10)
    boots.add("h2", [0] * (BUCKETS - 1) + [3], 900.0, 10, 60.0)
    assert boots.counts[0] <= 30 and boots.counts[-1] == 3


def test_a_bound_is_of_its_own_bucket() -> None:
    assert [bucket_of(bound) for bound in BOOT_BOUNDS] == list(range(len(BOOT_BOUNDS)))
    assert (bucket_of(0.0), bucket_of(301.0)) == (0, BUCKETS - 1)
