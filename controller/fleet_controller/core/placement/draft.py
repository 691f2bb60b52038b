"""One host while its assignment is decided: its shards, its tombstones, and what room both take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import structs

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Assignment, Capacity, HostView, Shard, Tombstone, footprint
from fleet_controller.core.shards import held_by, merged

Footprint = tuple[int, ...]  # per resource, as Capacity orders them
Footprints = Mapping[tuple[str, int], Footprint]  # of one VM, by (fleet uid, generation)

GUEST: Footprint = (1, 0, 0, 0, 0, 0, 0)  # a VM whose spec is not known takes at least its place
RESOURCES = Capacity.__struct_fields__


@dataclass(slots=True)
class Draft:
    """One host while a placement is being made."""

    view: HostView
    shards: list[Shard]
    tombstones: list[Tombstone]  # unacknowledged ones
    # Per resource; VMs with tombstones and orphans included: they still take their room.
    used: list[int]
    changed: bool = False
    own: dict[str, int] = field(default_factory=dict)  # VMs assigned, by fleet uid
    # Acknowledged ones. They are kept for what they say is to stay off, until it is placed again.
    remembered: list[Tombstone] = field(default_factory=list)

    def assignment(self) -> Assignment:
        return Assignment(merged(self._shards()), (*self.remembered, *self.tombstones))

    def _shards(self) -> Iterator[Shard]:
        """A retry is told once: a host tries whatever has failed at each new assignment, so the
        next one need not say it again, whether or not the host has heard this one."""
        told = {shard.retry for shard in self.view.assignment.shards}
        for shard in self.shards:
            yield structs.replace(shard, retry=0) if shard.retry in told else shard


def draft_of(host: HostView, prints: Footprints) -> Draft:
    """As the store has it."""
    used = [0] * len(RESOURCES)
    draft = Draft(host, list(host.assignment.shards), list(host.pending_tombstones), used)
    draft.remembered = [
        tombstone
        for tombstone in host.assignment.tombstones
        if tombstone.off and tombstone.id in host.released
    ]
    by_size: dict[Footprint, int] = {}  # fleets often have the same
    for shard in draft.shards:
        count = len(shard.ranges)
        draft.own[shard.fleet] = draft.own.get(shard.fleet, 0) + count
        size = prints.get((shard.fleet, shard.generation), GUEST)
        by_size[size] = by_size.get(size, 0) + count
    for size, count in by_size.items():
        take(draft, size, count)
    for tombstone in draft.tombstones:
        take(draft, _largest(tombstone.fleet, prints), len(tombstone.ranges))
    for uid, stray in _strays(host, draft.tombstones):
        take(draft, _largest(uid, prints), len(stray))
    return draft


def _strays(host: HostView, tombstones: Iterable[Tombstone]) -> Iterable[tuple[str, IndexSet]]:
    """Orphans by fleet, without those that the assignment names by now and counts itself."""
    for uid, _, indices in host.orphans:
        known = held_by(host.assignment.shards, uid)
        tombstoned = IndexSet.union_of(t.ranges for t in tombstones if t.fleet == uid)
        if stray := indices - known - tombstoned:
            yield uid, stray


def _largest(fleet: str, prints: Footprints) -> Footprint:
    """The most that a VM of the fleet takes in any generation: a tombstone has several."""
    sizes = [size for (uid, _), size in prints.items() if uid == fleet]
    return tuple(map(max, zip(*sizes, strict=True))) if sizes else GUEST


def take(draft: Draft, size: Sequence[int], count: int) -> None:
    """Count so many more VMs of this footprint on the host; negative: fewer."""
    draft.used = [have + each * count for have, each in zip(draft.used, size, strict=True)]


def footprints(specs: Mapping[tuple[str, int], types.FleetSpec]) -> Footprints:
    """What one VM of each takes."""
    return {key: vector(footprint(spec)) for key, spec in specs.items()}


def vector(capacity: Capacity) -> Footprint:
    """By resource, as a footprint is."""
    return tuple(getattr(capacity, name) for name in RESOURCES)


class Tombstoner:
    """Makes tombstones, with ids that no earlier one of the same host has: ids grow with the
    revision that a plan is made from, and every write raises that."""

    def __init__(self, revision: int) -> None:
        self._base = revision << 16

    def add_tombstone(
        self, draft: Draft, shard: Shard, ranges: IndexSet, *, given_up: bool = False
    ) -> None:
        """Have the host release these VMs of a shard. `given_up`: those that are off are to stay
        off wherever they are placed."""
        known = (*draft.remembered, *draft.tombstones)
        last = max((self._base, *(tombstone.id for tombstone in known)))
        off = ranges if given_up and not shard.power else EMPTY
        draft.tombstones.append(
            Tombstone(last + 1, shard.fleet, ranges, shard.birth, off, shard.staged)
        )
        draft.changed = True


def held(fleet: str, drafts: Iterable[Draft]) -> IndexSet:
    """What hosts have of the fleet, staged or not: none of it may be placed on another host."""
    return IndexSet.union_of(
        shard.ranges for draft in drafts for shard in draft.shards if shard.fleet == fleet
    )
