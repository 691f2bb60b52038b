"""How long each reader bears a source without a chunk: longer than that one bears its own."""

from __future__ import annotations

import pytest

from fleet.image_content.manifest import CHUNK
from fleet_controller.core.image_spread.patience import hops, patience_seconds
from fleet_controller.core.image_spread.sources import sources
from tests.controller.image_spread.test_sources import NOBODY, cluster, depths


def test_a_source_that_has_all_is_none_away_and_each_other_one_more_than_its_own() -> None:
    hosts = cluster(10, 32, holders=2)
    found = sources(hosts, {}, NOBODY)
    assert hops(found) == {one: depth - 1 for one, depth in depths(hosts, found).items()}


@pytest.mark.parametrize(
    ("passed", "bytes_per_second", "seconds"),
    [
        (0, 0, 30),
        (0, 1, 30),  # what has all of it waits for no chunk
        (1, 0, 60),
        (14, 0, 450),
        (14, 100 << 20, 451),
        (1, CHUNK, 64),
        (14, CHUNK // 100, 30 + 14 * (30 + 400)),
    ],
)
def test_each_host_between_takes_its_time_and_that_of_its_pace(
    passed: int, bytes_per_second: int, seconds: int
) -> None:
    assert patience_seconds(passed, bytes_per_second) == pytest.approx(seconds, abs=1)


@pytest.mark.parametrize("bytes_per_second", [0, 1, 2_340, CHUNK, 1 << 30])
def test_a_host_finds_another_source_before_its_own_readers_give_it_up(
    bytes_per_second: int,
) -> None:
    for passed in range(30):
        above = patience_seconds(passed, bytes_per_second)
        assert patience_seconds(passed + 1, bytes_per_second) >= above + 30
