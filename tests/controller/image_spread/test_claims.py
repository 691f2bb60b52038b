"""What hosts say of one another while an image spreads, as far as it counts."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.v1 import agent_pb2 as wire
from fleet_controller.core.image_spread.claims import barred, is_misled
from fleet_controller.image_spread.part import Part

FETCHING = wire.RelayState.PHASE_FETCHING


@pytest.mark.parametrize(
    ("accused", "readers", "found"),
    [
        ({"a": {"s"}}, {"s": {"a"}}, {}),
        ({"a": {"s"}, "b": {"s"}}, {"s": {"a", "b"}}, {"s": {"a", "b"}}),
        ({"a": {"s"}, "b": {"s"}}, {"s": {"a", "b", "c"}}, {"s": {"a", "b"}}),
        ({"a": {"s"}, "b": {"s"}}, {"s": {"a", "b", "c", "d"}}, {}),
        ({"a": {"s", "t", "u"}, "b": {"s"}}, {"s": {"a", "b"}}, {}),
    ],
    ids=["one word", "two words", "most", "others read there well", "one accuses all"],
)
def test_a_source_is_barred_by_most_of_its_readers_that_accuse_few(
    accused: Any, readers: Any, found: Any
) -> None:
    assert barred(accused, readers) == found


def test_a_hundredth_of_all_hosts_in_agreement_bars_no_more_than_as_many() -> None:
    sources = [f"h{number}" for number in range(4480)]
    few = [f"bad{number}" for number in range(44)]
    accused = {host: set(sources) for host in few}
    assert barred(accused, {}) == {}
    accused = {host: set(sources[number : number + 2]) for number, host in enumerate(few)}
    assert len(barred(accused, {})) <= len(few)


@pytest.mark.parametrize(
    ("mismatches", "targets", "misled"),
    [
        (0, 0, False),
        (1, 1, True),
        (1, 2, False),
        (2, 2, True),
        (44, 4480, False),
        (448, 4480, True),
    ],
)
def test_a_few_that_find_another_digest_end_no_spread(
    mismatches: int, targets: int, misled: bool
) -> None:
    assert is_misled(mismatches, targets) is misled


def part_of(size: int = 100) -> Part:
    part = Part("h1", size)
    sources = [wire.RelaySource(host="s", stripe=0)]
    part.tell(wire.RelayOrder(host_id="h1", sources=sources))
    return part


def test_a_host_speaks_of_sources_that_it_was_told_of_alone() -> None:
    part = part_of()
    for number in range(10_000):
        lies = [wire.RelayTrouble(host=f"x{number}", lied=bool(number % 2), why="w" * 9999)]
        part.hear(wire.RelayState(phase=FETCHING, troubles=lies), 1.0)
    assert not part.liars and not part.shuns and len(part.why) == 300
    part.hear(wire.RelayState(troubles=[wire.RelayTrouble(host="s", lied=True)]), 1.0)
    assert part.liars == {"s"}


def test_a_host_has_no_more_of_an_image_than_there_is() -> None:
    part = part_of(100)
    part.hear(wire.RelayState(done_bytes=2**64 - 1, total_bytes=2**64 - 1), 1.0)
    assert (part.done, part.total) == (100, 100)
