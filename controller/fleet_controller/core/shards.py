"""What several shards of one host make together."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Sequence

from msgspec import structs

from fleet.ranges import IndexSet
from fleet_controller.core.model import Shard


def merged(shards: Iterable[Shard]) -> tuple[Shard, ...]:
    """Shards that differ only in their ranges become one; ordered by fleet and birth."""
    alike: dict[tuple[str, int, int, bool, bool, int, int], list[Shard]] = defaultdict(list)
    for one in shards:
        key = (
            one.fleet, one.birth, one.generation, one.power, one.staged, one.restart, one.retry
        )  # fmt: skip
        alike[key].append(one)
    return tuple(
        structs.replace(same[0], ranges=IndexSet.union_of(shard.ranges for shard in same))
        for _, same in sorted(alike.items(), key=lambda item: item[0])
    )


def held_by(shards: Iterable[Shard], fleet: str) -> IndexSet:
    """The indices of the fleet in these shards."""
    return IndexSet.union_of(shard.ranges for shard in shards if shard.fleet == fleet)


def had_by_an_earlier_one(
    sets: Sequence[IndexSet], counts: Sequence[bool] | None = None
) -> list[IndexSet]:
    """Of each set the part that one before it has as well; with `counts`, only of those before it
    that count. In one sweep over all ranges."""
    ends: list[tuple[int, bool, int]] = []  # (index, begins, which set)
    for number, one in enumerate(sets):
        for start, stop in one.ranges:
            ends += ((start, True, number), (stop, False, number))
    ends.sort()
    losing: list[list[tuple[int, int]]] = [[] for _ in sets]
    open_: list[int] = []  # the sets that have the present index, the first ones first
    last = 0
    for index, begins, number in ends:
        if index > last:
            first = next((n for n, one in enumerate(open_) if counts is None or counts[one]), None)
            for loser in open_[first + 1 :] if first is not None else ():
                losing[loser].append((last, index))
        last = index
        if begins:
            insort(open_, number)
        else:
            open_.remove(number)
    return [IndexSet(pairs) for pairs in losing]
