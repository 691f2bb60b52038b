"""Placement: which host runs which index. A pure function of a ClusterView.

It keeps what runs where it runs, adds VMs on the least loaded hosts (or packs them), and takes
away the highest indices. An index is placed only when no assignment and no unacknowledged
tombstone has it, and no host as an orphan; tombstones of lost hosts do not count. What lost hosts
had is packed on few others, and what was stopped stays off. What fits nowhere is explained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from msgspec import structs

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Assignment, ClusterView, FleetRecord, Shard
from fleet_controller.core.placement.conditions import Wanted, candidates, rooms
from fleet_controller.core.placement.dealing import by_policy, deal, packed
from fleet_controller.core.placement.draft import (
    GUEST,
    Draft,
    Footprints,
    Tombstoner,
    draft_of,
    footprints,
    held,
)
from fleet_controller.core.placement.releases import (
    orphans_of,
    release_lost,
    release_orphans,
    release_orphans_of,
    shrink,
)
from fleet_controller.core.placement.unplaced import Unplaced, explain, held_back


@dataclass(frozen=True, slots=True)
class HostDelta:
    """What changes for one fleet on one host."""

    host: str
    adds: int
    removes: int
    after: int


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What placement does for one fleet."""

    fleet: FleetRecord
    adds: int
    removes: int
    deltas: tuple[HostDelta, ...]
    unplaced: tuple[Unplaced, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """The assignments that change, by host id, and what that means for each fleet by name.

    `first`: hosts whose assignments let go of what others are given here. They come first among
    `assignments` and are to be written before the others, so that an index is never in two.
    """

    assignments: Mapping[str, Assignment]
    fleets: Mapping[str, FleetPlan]
    first: Set[str] = frozenset()


def place(view: ClusterView) -> Placement:
    """The placement that satisfies every fleet's total as far as the hosts admit."""
    prints = footprints(view.specs)
    drafts = {name: draft_of(host, prints) for name, host in sorted(view.hosts.items())}
    tombstoner = Tombstoner(view.revision)
    fleets = sorted(view.fleets.values(), key=lambda fleet: fleet.number)
    first = release_lost(view, drafts, tombstoner)
    removed = {fleet.uid: shrink(fleet, drafts, tombstoner) for fleet in fleets}
    release_orphans(view, drafts, tombstoner)
    plans = {}
    for fleet in fleets:
        plans[fleet.name] = _grow(fleet, view, drafts, prints, removed[fleet.uid], tombstoner)
    changed = {
        name: draft.assignment()
        for name, draft in sorted(drafts.items(), key=lambda item: item[0] not in first)
        if draft.changed
    }
    return Placement(changed, plans, first)


def _grow(
    fleet: FleetRecord,
    view: ClusterView,
    drafts: Mapping[str, Draft],
    prints: Footprints,
    removed: Mapping[str, int],
    tombstoner: Tombstoner,
) -> FleetPlan:
    spec = view.specs.get((fleet.uid, fleet.generation), types.FleetSpec())
    wanted = Wanted(fleet.uid, spec, prints.get((fleet.uid, fleet.generation), GUEST))
    missing = fleet.wanted - held(fleet.uid, drafts.values())
    releasing = missing & _tombstoned(fleet.uid, drafts.values(), lost=False)
    orphaned = (missing & orphans_of(fleet.uid, drafts.values())) - releasing
    free = missing - releasing - orphaned
    added: Counter[str] = Counter()
    unplaced: tuple[Unplaced, ...] = ()
    off = _stopped(fleet.uid, drafts.values(), missing)
    if missing and fleet.uid in view.held_back:
        unplaced = (held_back(missing, view.held_back[fleet.uid]),)
    elif missing:
        hosts = candidates(drafts.values(), wanted)
        urgent = free & _tombstoned(fleet.uid, drafts.values(), lost=True)
        rest = EMPTY
        for part, share in ((urgent, packed), (free - urgent, by_policy)):
            if not part:
                continue
            shares = share(spec.placement, fleet.uid, hosts, rooms(hosts, wanted), len(part))
            kind = Shard(fleet.uid, part, fleet.generation, view.revision)
            dealt, left = deal(kind, off, hosts, shares, wanted.size)
            added.update(dealt)
            rest = rest | left
        # Some host runs these: it releases them first, if there is room for them elsewhere.
        let_go = orphaned.lowest(sum(rooms(hosts, wanted))) if orphaned else EMPTY
        release_orphans_of(fleet.uid, let_go, drafts.values(), tombstoner)
        releasing, rest = releasing | let_go, rest | (orphaned - let_go)
        unplaced = explain(wanted, list(view.hosts.values()), rest, releasing)
    touched = sorted(set(added) | set(removed))
    deltas = tuple(
        HostDelta(name, added.get(name, 0), removed.get(name, 0), drafts[name].own[fleet.uid])
        for name in touched
    )
    return FleetPlan(fleet, sum(added.values()), sum(removed.values()), deltas, unplaced)


def _tombstoned(fleet: str, drafts: Iterable[Draft], *, lost: bool) -> IndexSet:
    """What lost hosts, or all others, have still to release of the fleet."""
    return IndexSet.union_of(
        tombstone.ranges
        for draft in drafts
        if draft.view.record.lost is lost
        for tombstone in draft.tombstones
        if tombstone.fleet == fleet
    )


def _stopped(uid: str, drafts: Iterable[Draft], missing: IndexSet) -> IndexSet:
    """What an operator had stopped on hosts that were given up since: it is to stay off.

    Tombstones remember it until it is placed again, or wanted no more; then they forget it here.
    """
    off = []
    for draft in drafts:
        for tombstones in (draft.remembered, draft.tombstones):
            for position, tombstone in enumerate(tombstones):
                if tombstone.fleet != uid or not tombstone.off:
                    continue
                left = tombstone.off & missing
                off.append(left)
                if left != tombstone.off:
                    tombstones[position] = structs.replace(tombstone, off=left)
                    draft.changed = True
        draft.remembered = [tombstone for tombstone in draft.remembered if tombstone.off]
    return IndexSet.union_of(off)
