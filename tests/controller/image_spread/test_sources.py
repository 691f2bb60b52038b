"""Who fetches from whom: two trees, near sources first, and what becomes of them in trouble."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

import pytest

from fleet_controller.core.image_spread.sources import (
    Reading,
    Sources,
    SpreadHost,
    own_stripes,
    sources,
)

NOBODY: frozenset[str] = frozenset()


def cluster(racks: int, of: int, holders: int = 1) -> dict[str, SpreadHost]:
    names = {
        f"h{rack:03d}-{host:02d}": f"r{rack:03d}" for rack in range(racks) for host in range(of)
    }
    stripes = own_stripes(names, {})
    holding = set(sorted(names)[:holders])
    return {name: SpreadHost(rack, name in holding, stripes[name]) for name, rack in names.items()}


def readers(found: Sources) -> Counter[str]:
    return Counter(found.values())


def depths(hosts: Mapping[str, SpreadHost], found: Sources) -> dict[Reading, int]:
    """How many hosts have a chunk before each. Fails for a circle."""

    def depth(host: str, stripe: int, seen: int = 0) -> int:
        assert seen <= len(hosts), "a circle"
        return 0 if hosts[host].holds else 1 + depth(found[Reading(host, stripe)], stripe, seen + 1)

    return {reading: depth(*reading) for reading in found}


def without(hosts: dict[str, SpreadHost], *gone: str) -> dict[str, SpreadHost]:
    return {name: one for name, one in hosts.items() if name not in gone}


@pytest.mark.parametrize(("racks", "of"), [(1, 2), (1, 3), (2, 5), (7, 3), (10, 32)])
def test_every_host_finds_a_source_for_both_halves(racks: int, of: int) -> None:
    hosts = cluster(racks, of)
    found = sources(hosts, {}, NOBODY)
    lacking = {name for name, one in hosts.items() if not one.holds}
    assert set(found) == {Reading(name, stripe) for name in lacking for stripe in (0, 1)}
    depths(hosts, found)


def test_each_uploads_at_most_what_it_downloads_and_the_source_one_image() -> None:
    hosts = cluster(10, 32)
    counts = readers(sources(hosts, {}, NOBODY))
    assert counts["h000-00"] == 2  # half an image each
    assert max(counts.values()) == 2


def test_most_fetch_within_their_rack_and_none_from_far_down_the_tree() -> None:
    hosts = cluster(140, 32)
    began = time.perf_counter()
    found = sources(hosts, {}, NOBODY)
    assert time.perf_counter() - began < 2.0
    near = sum(hosts[reading.host].rack == hosts[source].rack for reading, source in found.items())
    assert near > 0.9 * len(found)
    assert max(depths(hosts, found).values()) <= 24


def test_what_fetches_already_keeps_its_source() -> None:
    hosts = cluster(4, 8)
    first = sources(hosts, {}, NOBODY)
    assert sources(hosts, first, NOBODY) == first


def test_readers_of_a_host_that_is_gone_get_another_and_nobody_else_does() -> None:
    hosts = cluster(4, 8)
    first = sources(hosts, {}, NOBODY)
    gone = next(source for source in first.values() if not hosts[source].holds)
    left = without(hosts, gone)
    then = sources(left, first, NOBODY)
    assert gone not in then.values() and gone not in {reading.host for reading in then}
    assert {reading.host for reading in then} == {n for n, one in left.items() if not one.holds}
    depths(left, then)
    below = {reading for reading, source in first.items() if source == gone}
    moved = {reading for reading in then if then[reading] != first[reading]}
    assert moved and below <= moved | {Reading(gone, 0), Reading(gone, 1)}
    assert len(moved) < len(first) / 2


def test_a_host_that_has_all_is_a_source_in_its_own_right() -> None:
    hosts = cluster(1, 6)
    first = sources(hosts, {}, NOBODY)
    done = next(iter(first)).host
    one = hosts[done]
    hosts[done] = SpreadHost(one.rack, True, one.stripe)
    then = sources(hosts, first, NOBODY)
    assert not any(reading.host == done for reading in then)
    depths(hosts, then)


def test_one_host_fetches_from_two_where_two_have_it() -> None:
    hosts = cluster(1, 3, holders=2)
    assert set(sources(hosts, {}, NOBODY).values()) == {"h000-00", "h000-01"}


def test_who_failed_a_host_is_not_its_source_and_who_lied_is_nobodys() -> None:
    hosts = cluster(1, 4, holders=2)
    reader = next(name for name, one in hosts.items() if not one.holds)
    first = sources(hosts, {}, NOBODY)
    failed = first[Reading(reader, 0)]
    one = hosts[reader]
    hosts[reader] = SpreadHost(one.rack, False, one.stripe, frozenset({failed}))
    assert sources(hosts, first, NOBODY)[Reading(reader, 0)] != failed
    assert failed not in sources(hosts, first, frozenset({failed})).values()


def test_while_nobody_has_it_nobody_has_a_source() -> None:
    assert sources(cluster(1, 4, holders=0), {}, NOBODY) == {}
    lonely = cluster(1, 2)
    reader = next(name for name, one in lonely.items() if not one.holds)
    lonely[reader] = SpreadHost("r000", False, 0, frozenset({"h000-00"}))
    assert sources(lonely, {}, NOBODY) == {}


def test_new_hosts_share_the_halves_evenly() -> None:
    racks = {f"h{number}": f"r{number % 3}" for number in range(30)}
    known = dict.fromkeys(["h0", "h3", "h6"], 0)
    stripes = own_stripes(racks, known)
    assert Counter(stripes.values()) == {0: 15, 1: 15}
    assert [stripes[one] for one in known] == [0, 0, 0]
