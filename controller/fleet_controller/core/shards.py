"""What several shards of one host make together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from msgspec import structs

from fleet.ranges import IndexSet
from fleet_controller.core.model import Shard


def merged(shards: Iterable[Shard]) -> tuple[Shard, ...]:
    """Shards that differ only in their ranges become one; ordered by fleet and birth."""
    alike: dict[tuple[str, int, int, bool, bool, int], list[Shard]] = defaultdict(list)
    for one in shards:
        key = (one.fleet, one.birth, one.generation, one.power, one.staged, one.restart)
        alike[key].append(one)
    return tuple(
        structs.replace(same[0], ranges=IndexSet.union_of(shard.ranges for shard in same))
        for _, same in sorted(alike.items(), key=lambda item: item[0])
    )


def held_by(shards: Iterable[Shard], fleet: str) -> IndexSet:
    """The indices of the fleet in these shards."""
    return IndexSet.union_of(shard.ranges for shard in shards if shard.fleet == fleet)
