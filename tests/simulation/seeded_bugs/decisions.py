"""Mistakes that the pure functions of a leader could make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fleet.ranges import IndexSet
from fleet_controller.core.host_loss import loss
from fleet_controller.core.model import Assignment, RolloutRecord, Shard
from fleet_controller.core.placement import draft
from fleet_controller.core.placement.conditions import Resource
from fleet_controller.core.rebalance.bounds import NO_BOUND, Bounds
from fleet_controller.core.recovery.view import RecoveryView
from fleet_controller.core.rollouts_and_drains import (
    canaries,
    disruption,
    drain_progress,
    moves,
    rollout,
)
from fleet_controller.core.shards import merged
from tests.simulation.seeded_bugs.replacing import SeededBug, wrong


def _merged_by_generation(shards: Sequence[Shard]) -> tuple[Shard, ...]:
    """Shards of one generation are one, whenever they were born."""
    ranges: dict[tuple[str, int, bool], list[Shard]] = {}
    for shard in shards:
        ranges.setdefault((shard.fleet, shard.generation, shard.power), []).append(shard)
    return tuple(
        Shard(
            fleet,
            IndexSet.union_of(one.ranges for one in several),
            generation,
            max(one.birth for one in several),
            power,
        )
        for (fleet, generation, power), several in sorted(ranges.items())
    )


def _add_tombstone_of_the_unborn(
    self: Any, draft: Any, shard: Shard, ranges: IndexSet, *, given_up: bool = False
) -> None:
    """Births are compared as if they began anew with each plan."""
    older = msgspec.structs.replace(shard, birth=shard.birth - 1)
    _add_tombstone(self, draft, older, ranges, given_up=given_up)


_add_tombstone = draft.Tombstoner.add_tombstone


def _room_beside_tombstones(self: Resource, of: draft.Draft) -> int:
    """What is told to go takes no guest's place, it thinks."""
    going = sum(len(stone.ranges) for stone in of.view.pending_tombstones)
    return _room(self, of) + (going if self.name == "guests" else 0)


_room = Resource.room


def _is_over_by_more(gone: int, of: int, share: float) -> bool:
    """The first one too many is let through."""
    return gone > 1 and gone - 1 > share * of


def _one_more(record: RolloutRecord, total: int) -> int:
    return _most_unavailable(record, total) + 1


_most_unavailable = rollout.most_unavailable


def _one_more_canary(record: RolloutRecord, total: int) -> int:
    return _most_canaries(record, total) + 1


_most_canaries = canaries.most_canaries


def _advance_uncounted(*args: Any) -> int:
    """What is under way by now is no concern of what begins."""
    _advance(*args)
    return 0


_advance = moves._advance


def _as_many_as_there_are(self: Bounds, labels: Mapping[str, str]) -> int:
    """Bounds are for VMs to come, it thinks."""
    return NO_BOUND


def _without_graves(assignment: Assignment, released: frozenset[int], revision: int) -> Assignment:
    """A host that is removed needs no words any more."""
    return Assignment()


def _as_stored(self: RecoveryView, host: str) -> bool:
    """The store knows best."""
    return False


def _by_turns(self: Any, ranges: IndexSet) -> IndexSet:
    """Each who asks has a whole budget of its own."""
    return ranges.lowest(self.bounds.most)


DECISIONS: tuple[SeededBug, ...] = (
    SeededBug(
        "tombstone ignores births",
        (wrong(draft.Tombstoner.add_tombstone, _add_tombstone_of_the_unborn),),
    ),
    SeededBug(
        "births forgotten when shards merge", (wrong(merged, _merged_by_generation, seen_in=draft),)
    ),
    SeededBug(
        "breaker off by one",
        (wrong(loss.is_over, _is_over_by_more),),
        ("host_away",),
    ),
    SeededBug("tombstones take no room", (wrong(Resource.room, _room_beside_tombstones),)),
    SeededBug(
        "one more down for a rollout", (wrong(rollout.most_unavailable, _one_more),), ("roll_out",)
    ),
    SeededBug("one more canary", (wrong(canaries.most_canaries, _one_more_canary),), ("canary",)),
    SeededBug(
        "moves under way are not counted", (wrong(moves._advance, _advance_uncounted),), ("drain",)
    ),
    SeededBug(
        "a rebalance takes bounds for kept",
        (wrong(Bounds.allowed, _as_many_as_there_are),),
        ("rebalance",),
    ),
    SeededBug(
        "a budget for each who asks",
        (wrong(disruption.Room.within, _by_turns),),
        ("control", "roll_out"),
    ),
    SeededBug(
        "removed without tombstones",
        (wrong(drain_progress.released_for_good, _without_graves),),
        ("remove", "host_away"),
    ),
    SeededBug(
        "recovered from the store though hosts are ahead",
        (wrong(RecoveryView.is_rebuilt, _as_stored),),
        ("set_back", "change_mind"),
    ),
)
