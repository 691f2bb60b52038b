"""What hosts are to let go before anything is placed: what lost hosts had, what is above a
fleet's total, and orphans that another host is assigned, or is to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import structs

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import ClusterView, FleetRecord, Shard
from fleet_controller.core.placement.draft import Draft, Tombstoner, held
from fleet_controller.core.shards import held_by


def forsake(view: ClusterView, drafts: Mapping[str, Draft], taker: Tombstoner) -> frozenset[str]:
    """Bury what lost hosts held of fleets that replace; which hosts that changes.

    A VM's own generation says whether it waits: that is what its host knows, too. What was only
    staged never ran there, so nothing of it is worth waiting for.
    """
    forsaken = set()
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
            taker.bury(draft, shard, shard.ranges, given_up=True)
            draft.own[shard.fleet] -= len(shard.ranges)
            forsaken.add(name)
        draft.shards = kept
    return frozenset(forsaken)


def shrink(fleet: FleetRecord, drafts: Mapping[str, Draft], taker: Tombstoner) -> dict[str, int]:
    """Bury what is above the total; how many on each host."""
    removed: dict[str, int] = {}
    for name, draft in drafts.items():
        if not draft.own.get(fleet.uid):
            continue
        kept: list[Shard] = []
        for shard in draft.shards:
            excess = shard.ranges - fleet.wanted if shard.fleet == fleet.uid else EMPTY
            if not excess:
                kept.append(shard)
                continue
            taker.bury(draft, shard, excess)
            removed[name] = removed.get(name, 0) + len(excess)
            rest = shard.ranges - excess
            if rest:
                kept.append(structs.replace(shard, ranges=rest))
        draft.shards = kept
        draft.own[fleet.uid] -= removed.get(name, 0)
    return removed


def release_orphans(view: ClusterView, drafts: Mapping[str, Draft], taker: Tombstoner) -> None:
    """Bury orphans whose index another host is assigned, and those of deleted fleets.

    Of what is only staged somewhere too: it starts there as soon as nobody else has it.
    """
    uids = {uid for draft in drafts.values() for uid, _, _ in draft.view.orphans}
    for uid in sorted(uids):
        taken = held(uid, drafts.values())
        unwanted = None if uid in view.gone else taken
        bury_orphans(uid, unwanted, drafts.values(), taker)


def bury_orphans(
    uid: str, indices: IndexSet | None, drafts: Iterable[Draft], taker: Tombstoner
) -> None:
    """Those of the fleet with these indices, or all."""
    for draft in drafts:
        for birth, orphans in _orphans(draft, uid):
            if unwanted := orphans if indices is None else orphans & indices:
                taker.bury(draft, Shard(uid, unwanted, 0, birth), unwanted)


def orphans_of(uid: str, drafts: Iterable[Draft]) -> IndexSet:
    """Orphans of the fleet on hosts that are not lost: they may run."""
    return IndexSet.union_of(
        orphans
        for draft in drafts
        if not draft.view.record.lost
        for _, orphans in _orphans(draft, uid)
    )


def _orphans(draft: Draft, uid: str) -> Iterator[tuple[int, IndexSet]]:
    """By birth, without those that the host is assigned or is letting go by now."""
    found = [(birth, indices) for fleet, birth, indices in draft.view.orphans if fleet == uid]
    if not found:
        return
    buried = IndexSet.union_of(t.ranges for t in draft.tombstones if t.fleet == uid)
    known = held_by(draft.shards, uid) | buried
    for birth, indices in found:
        if left := indices - known:
            yield birth, left
