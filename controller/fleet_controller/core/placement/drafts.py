"""All hosts of a view, while moves, rollouts or operators change what they have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import structs

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Assignment, ClusterView, Shard, Tombstone
from fleet_controller.core.placement.conditions import (
    Wanted,
    candidates,
    lacked,
    resources,
    rooms,
)
from fleet_controller.core.placement.dealing import by_policy, deal
from fleet_controller.core.placement.draft import (
    GUEST,
    Draft,
    Footprint,
    Tombstoner,
    draft_of,
    footprints,
    take,
)
from fleet_controller.core.placement.unplaced import no_room


class Drafts:
    """The hosts of a view, as a placement has left them, so that no room is given out twice.

    `decided`: the assignments that the placement changed, by host id.
    """

    def __init__(self, view: ClusterView, decided: Mapping[str, Assignment]) -> None:
        self._view = view
        self._decided = decided
        self._prints = footprints(view.specs)
        self._lacked: dict[tuple[str, int, int], str] = {}
        self._tombstoner = Tombstoner(view.revision)
        self._drafts = {
            name: draft_of(
                structs.replace(host, assignment=decided[name]) if name in decided else host,
                self._prints,
            )
            for name, host in sorted(view.hosts.items())
        }

    @property
    def hosts(self) -> Mapping[str, Draft]:
        """By id, in the order of the ids; to be read alone."""
        return self._drafts

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

    def release(self, host: str, shard: Shard, ranges: IndexSet) -> None:
        """The host is to release these VMs of the shard."""
        draft = self._drafts[host]
        self.put(host, shard, ranges, None)
        draft.own[shard.fleet] -= len(ranges)
        self._tombstoner.add_tombstone(draft, shard, ranges)

    def put(self, host: str, shard: Shard, ranges: IndexSet, kind: Shard | None) -> None:
        """These VMs of the shard become a shard of another kind on the same host; None: they go
        from the shard."""
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
        """Divide a shard among the hosts that may have it, by its fleet's rules. The VMs that fit
        on none."""
        wanted = self._wanted(kind)
        hosts = candidates(self._drafts.values(), wanted)
        rule, free = wanted.spec.placement, rooms(hosts, wanted)
        shares = by_policy(rule, kind.fleet, hosts, free, len(kind.ranges))
        return deal(kind, EMPTY, hosts, shares, wanted.size)[1]

    def add_to(self, kind: Shard, takers: Mapping[str, int]) -> IndexSet:
        """Divide a shard among these hosts: each gets at most so many VMs, if it may have them and
        has room. The VMs that are left over."""
        wanted = self._wanted(kind)
        hosts = [
            draft
            for draft in candidates(self._drafts.values(), wanted)
            if draft.view.record.id in takers
        ]
        free = rooms(hosts, wanted)
        shares = [
            min(room, takers[draft.view.record.id]) for draft, room in zip(hosts, free, strict=True)
        ]
        return deal(kind, EMPTY, hosts, shares, wanted.size)[1]

    def why_not(self, kind: Shard, rest: IndexSet) -> str:
        """Why these VMs fit on no host, which are what `add` returned for this shard."""
        return no_room(self._wanted(kind), list(self._view.hosts.values()), rest).why

    def fitting(self, host: str, shard: Shard, kind: Shard) -> int:
        """How many VMs of the shard may become VMs of this kind, for all that the host has room."""
        draft = self._drafts[host]
        old, new = self._size(shard), self._size(kind)
        growth = [after - before for before, after in zip(old, new, strict=True)]
        fits = [max(0, resource.room(draft)) for resource in resources(growth)]
        return min([len(shard.ranges), *fits])

    def lacked(self, host: str, kind: Shard) -> str:
        """What the host has not of what VMs of this kind need; empty: nothing."""
        view = self._drafts[host].view
        key = (kind.fleet, kind.generation, id(view.record.holdings))
        if key not in self._lacked:
            spec = self._view.specs.get((kind.fleet, kind.generation), types.FleetSpec())
            self._lacked[key] = " and ".join(lacked(view, spec))
        return self._lacked[key]

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
