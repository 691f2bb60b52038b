"""What one assignment says, put together."""

from __future__ import annotations

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import Assignment


def size(assignment: Assignment) -> int:
    return sum(len(shard.ranges) for shard in assignment.shards)


def running(assignment: Assignment, fleet: str) -> IndexSet:
    return IndexSet.union_of(
        shard.ranges for shard in assignment.shards if shard.fleet == fleet and not shard.staged
    )


def by_life(assignment: Assignment) -> dict[tuple[str, int], IndexSet]:
    found: dict[tuple[str, int], IndexSet] = {}
    for shard in assignment.shards:
        key = (shard.fleet, shard.birth)
        found[key] = found.get(key, EMPTY) | shard.ranges
    return found
