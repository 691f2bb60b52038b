"""What another assignment changes of what a host holds, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import Assignment, Shard


@dataclass(frozen=True, slots=True)
class AssignmentChange:
    """By kin. `freed`: what the host had, and has no more. `gained`: what it holds from now on;
    `prepared`: what it had staged of the kin that it gains."""

    freed: Mapping[Kin, IndexSet]
    gained: Mapping[Kin, IndexSet]
    prepared: Mapping[Kin, IndexSet]

    @property
    def freed_fleets(self) -> set[str]:
        """Uids of the fleets of which the host has let something go."""
        return {kin.fleet_uid for kin in self.freed}


def assignment_change(before: Assignment, after: Assignment) -> AssignmentChange:
    """The difference. A staged VM does not count as held."""
    had, has = by_kin(before.shards), by_kin(after.shards)
    held = by_kin(shard for shard in before.shards if not shard.staged)
    holds = by_kin(shard for shard in after.shards if not shard.staged)
    staged = by_kin(shard for shard in before.shards if shard.staged)
    gained = _less(holds, held)
    prepared = {kin: staged[kin] for kin in gained if kin in staged}
    return AssignmentChange(_less(had, has), gained, prepared)


def restarting(
    so_far: Mapping[str, IndexSet], before: Assignment, after: Assignment
) -> dict[str, IndexSet]:
    """VMs by fleet that were given a restart and are still the host's. `so_far`: before that."""
    found: dict[str, IndexSet] = {}
    for shard in after.shards:
        if not shard.restart or shard.staged:
            continue
        told = IndexSet.union_of(
            one.ranges
            for one in before.shards
            if (one.kin, one.restart, one.staged) == (shard.kin, shard.restart, False)
        )
        fresh = (shard.ranges - told) | (shard.ranges & so_far.get(shard.fleet, EMPTY))
        if fresh:
            found[shard.fleet] = found.get(shard.fleet, EMPTY) | fresh
    return found


def by_kin(shards: Iterable[Shard]) -> dict[Kin, IndexSet]:
    """Shards with equal fleet, generation and birth as one, whatever else differs."""
    merged: dict[Kin, IndexSet] = {}
    for shard in shards:
        kin = shard.kin
        have = merged.get(kin)
        merged[kin] = have | shard.ranges if have else shard.ranges
    return merged


def _less(these: Mapping[Kin, IndexSet], those: Mapping[Kin, IndexSet]) -> dict[Kin, IndexSet]:
    """What is in these and not in those; nothing for kin of which nothing is left."""
    left = {kin: ranges - those.get(kin, EMPTY) for kin, ranges in these.items()}
    return {kin: ranges for kin, ranges in left.items() if ranges}
