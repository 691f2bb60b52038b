"""All hosts of a view, and what moves, rollouts and operators change about what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import structs

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Assignment, ClusterView, Shard, Tombstone
from fleet_controller.core.placement.conditions import Wanted, candidates, resources, rooms
from fleet_controller.core.placement.dealing import by_policy, deal
from fleet_controller.core.placement.draft import (
    GUEST,
    Footprint,
    Tombstoner,
    draft_of,
    footprints,
    take,
)
from fleet_controller.core.placement.unplaced import no_room


class Drafts:
    """All hosts of a view while something besides placement is decided about what they hold.

    They begin as a placement has left them (`decided`: assignments by host id), so that room is
    counted once for all.
    """

    def __init__(self, view: ClusterView, decided: Mapping[str, Assignment]) -> None:
        self._view = view
        self._decided = decided
        self._prints = footprints(view.specs)
        self._taker = Tombstoner(view.revision)
        self._drafts = {
            name: draft_of(
                structs.replace(host, assignment=decided[name]) if name in decided else host,
                self._prints,
            )
            for name, host in sorted(view.hosts.items())
        }

    def shards(self) -> Iterator[tuple[str, Shard]]:
        """Every shard with the id of its host, as of when the iteration reaches the host."""
        for name, draft in self._drafts.items():
            for shard in tuple(draft.shards):
                yield name, shard

    def tombstones(self) -> Iterator[tuple[str, Tombstone]]:
        """Every unacknowledged tombstone with the id of its host."""
        for name, draft in self._drafts.items():
            for tombstone in tuple(draft.tombstones):
                yield name, tombstone

    def bury(self, host: str, shard: Shard, ranges: IndexSet) -> None:
        """The host lets these of the shard go."""
        draft = self._drafts[host]
        self.put(host, shard, ranges, None)
        draft.own[shard.fleet] -= len(ranges)
        self._taker.bury(draft, shard, ranges)

    def put(self, host: str, shard: Shard, ranges: IndexSet, kind: Shard | None) -> None:
        """These of the shard become one of another kind on the same host, or none."""
        draft = self._drafts[host]
        draft.shards.remove(shard)
        if rest := shard.ranges - ranges:
            draft.shards.append(structs.replace(shard, ranges=rest))
        if kind:
            draft.shards.append(structs.replace(kind, ranges=ranges))
            for one, count in ((shard, -len(ranges)), (kind, len(ranges))):
                take(draft, self._size(one), count)
        draft.changed = True

    def add(self, kind: Shard) -> IndexSet:
        """Divide a shard among the hosts that may have it, by its fleet's rules; what fits on
        none."""
        wanted = self._wanted(kind)
        hosts = candidates(self._drafts.values(), wanted)
        rule, free = wanted.spec.placement, rooms(hosts, wanted)
        shares = by_policy(rule, kind.fleet, hosts, free, len(kind.ranges))
        return deal(kind, EMPTY, hosts, shares, wanted.size)[1]

    def why_not(self, kind: Shard, rest: IndexSet) -> str:
        """Why these of a shard that `add` was given fit on none."""
        return no_room(self._wanted(kind), list(self._view.hosts.values()), rest).why

    def fitting(self, host: str, shard: Shard, kind: Shard) -> int:
        """How many VMs of the shard the host could have as this kind instead."""
        draft = self._drafts[host]
        old, new = self._size(shard), self._size(kind)
        growth = [after - before for before, after in zip(old, new, strict=True)]
        fits = [max(0, resource.room(draft)) for resource in resources(growth)]
        return min([len(shard.ranges), *fits])

    def assignments(self) -> dict[str, Assignment]:
        """All that differ from the store, those decided before included."""
        changed = {
            name: draft.assignment() for name, draft in self._drafts.items() if draft.changed
        }
        return {**self._decided, **changed}

    def _wanted(self, kind: Shard) -> Wanted:
        spec = self._view.specs.get((kind.fleet, kind.generation), types.FleetSpec())
        return Wanted(kind.fleet, spec, self._size(kind))

    def _size(self, kind: Shard) -> Footprint:
        """Of one VM of this kind."""
        return self._prints.get((kind.fleet, kind.generation), GUEST)
