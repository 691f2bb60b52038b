"""What hosts are to release before anything is placed: what lost hosts had, what is above a
fleet's total, and orphans that another host has or is to have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import structs

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import ClusterView, FleetRecord, Shard
from fleet_controller.core.placement.draft import Draft, Tombstoner, held
from fleet_controller.core.shards import held_by


def release_lost(
    view: ClusterView, drafts: Mapping[str, Draft], tombstoner: Tombstoner
) -> frozenset[str]:
    """Add tombstones for what lost hosts held of fleets that replace; the hosts that changes.

    The generation of each VM says whether it waits for its host, because its host knows no newer
    one. What was only staged never ran there, so nobody waits for it.
    """
    changed = set()
    for name, draft in drafts.items():
        if not draft.view.record.lost:
            continue
        kept = []
        for shard in draft.shards:
            spec = view.specs.get((shard.fleet, shard.generation))
            replaces = spec is not None and spec.on_loss == types.ON_LOSS_REPLACE
            if not (replaces or shard.staged):
                kept.append(shard)
                continue
            tombstoner.add_tombstone(draft, shard, shard.ranges, given_up=True)
            draft.own[shard.fleet] -= len(shard.ranges)
            changed.add(name)
        draft.shards = kept
    return frozenset(changed)


def shrink(
    fleet: FleetRecord, drafts: Mapping[str, Draft], tombstoner: Tombstoner
) -> dict[str, int]:
    """Add tombstones for what is above the total; how many VMs on each host."""
    removed: dict[str, int] = {}
    wanted = fleet.wanted
    for name, draft in drafts.items():
        if not draft.own.get(fleet.uid):
            continue
        kept: list[Shard] = []
        for shard in draft.shards:
            excess = shard.ranges - wanted if shard.fleet == fleet.uid else EMPTY
            if not excess:
                kept.append(shard)
                continue
            tombstoner.add_tombstone(draft, shard, excess)
            removed[name] = removed.get(name, 0) + len(excess)
            rest = shard.ranges - excess
            if rest:
                kept.append(structs.replace(shard, ranges=rest))
        draft.shards = kept
        draft.own[fleet.uid] -= removed.get(name, 0)
    return removed


def release_orphans(view: ClusterView, drafts: Mapping[str, Draft], tombstoner: Tombstoner) -> None:
    """Add tombstones for orphans whose index is assigned to another host, or staged there (it
    would start as soon as nobody else has it), and for those of deleted fleets."""
    uids = {uid for draft in drafts.values() for uid, _, _ in draft.view.orphans}
    for uid in sorted(uids):
        taken = held(uid, drafts.values())
        unwanted = None if uid in view.gone else taken
        release_orphans_of(uid, unwanted, drafts.values(), tombstoner)


def release_orphans_of(
    uid: str, indices: IndexSet | None, drafts: Iterable[Draft], tombstoner: Tombstoner
) -> None:
    """Add tombstones for the fleet's orphans with these indices; None: for all of them."""
    for draft in drafts:
        for birth, orphans in _orphans(draft, uid):
            if unwanted := orphans if indices is None else orphans & indices:
                tombstoner.add_tombstone(draft, Shard(uid, unwanted, 0, birth), unwanted)


def orphans_of(uid: str, drafts: Iterable[Draft]) -> IndexSet:
    """Orphans of the fleet on hosts that are not lost: they may run."""
    return IndexSet.union_of(
        orphans
        for draft in drafts
        if not draft.view.record.lost
        for _, orphans in _orphans(draft, uid)
    )


def _orphans(draft: Draft, uid: str) -> Iterator[tuple[int, IndexSet]]:
    """The fleet's orphans on the host by birth, without what the draft already assigns to it or
    makes it release."""
    found = [(birth, indices) for fleet, birth, indices in draft.view.orphans if fleet == uid]
    if not found:
        return
    tombstoned = IndexSet.union_of(t.ranges for t in draft.tombstones if t.fleet == uid)
    known = held_by(draft.shards, uid) | tombstoned
    for birth, indices in found:
        if left := indices - known:
            yield birth, left
