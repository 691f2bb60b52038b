"""Placement: which host runs which index. A pure function of a ClusterView.

It keeps what runs where it runs; it adds on the least loaded hosts (or packs), and takes away
from the highest index. An index is placed only when no assignment and no tombstone that is
still unacknowledged holds it; what a lost host has to release holds nothing. What lost hosts had
is packed on few others. What fits nowhere is explained.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.leveling import level, pack
from fleet_controller.core.model import (
    Assignment,
    Capacity,
    ClusterView,
    FleetRecord,
    HostView,
    Shard,
    Tombstone,
    footprint,
)
from fleet_controller.core.unplaced import Unplaced, explain

RESOURCES = Capacity.__struct_fields__
UNLIMITED = 2**62
_GUEST = (1, 0, 0, 0, 0)  # a VM whose spec is not known takes at least its place


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


@dataclass(slots=True)
class _Draft:
    """One host while a placement is being made."""

    view: HostView
    shards: list[Shard]
    tombstones: list[Tombstone]  # unacknowledged ones
    # Per resource; VMs with tombstones and orphans included: they still take their room.
    used: list[int]
    changed: bool = False
    own: dict[str, int] = field(default_factory=dict)  # VMs assigned, by fleet uid


def place(view: ClusterView) -> Placement:
    """The placement that satisfies every fleet's total as far as the hosts admit."""
    prints = {key: _vector(footprint(spec)) for key, spec in view.specs.items()}
    drafts = {name: _draft(host, prints) for name, host in sorted(view.hosts.items())}
    taker = _Tombstoner(view.revision)
    fleets = sorted(view.fleets.values(), key=lambda fleet: fleet.number)
    first = _forsake(view, drafts, taker)
    removed = {fleet.uid: _shrink(fleet, drafts, taker) for fleet in fleets}
    _release_orphans(view, drafts, taker)
    plans = {}
    for fleet in fleets:
        plans[fleet.name] = _grow(fleet, view, drafts, prints, removed[fleet.uid])
    changed = {
        name: Assignment(_merged(draft.shards), tuple(draft.tombstones))
        for name, draft in sorted(drafts.items(), key=lambda item: item[0] not in first)
        if draft.changed
    }
    return Placement(changed, plans, first)


class _Tombstoner:
    """Gives tombstones ids that no earlier one of the same host has: they grow with the
    revision that a plan was made from, and every write raises it."""

    def __init__(self, revision: int) -> None:
        self._base = revision << 16
        self._given: dict[str, int] = defaultdict(int)

    def bury(self, draft: _Draft, fleet: str, ranges: IndexSet, born_until: int) -> None:
        host = draft.view.record.id
        self._given[host] += 1
        draft.tombstones.append(
            Tombstone(self._base + self._given[host], fleet, ranges, born_until)
        )
        draft.changed = True


def _draft(host: HostView, prints: Mapping[tuple[str, int], tuple[int, ...]]) -> _Draft:
    draft = _Draft(host, list(host.assignment.shards), list(host.pending_tombstones), [0] * 5)
    for shard in draft.shards:
        count = len(shard.ranges)
        draft.own[shard.fleet] = draft.own.get(shard.fleet, 0) + count
        _take(draft, prints.get((shard.fleet, shard.generation), _GUEST), count)
    for tombstone in draft.tombstones:
        _take(draft, _largest(tombstone.fleet, prints), len(tombstone.ranges))
    for uid, stray in _strays(host, draft.tombstones):
        _take(draft, _largest(uid, prints), len(stray))
    return draft


def _strays(host: HostView, tombstones: Iterable[Tombstone]) -> Iterable[tuple[str, IndexSet]]:
    """Orphans by fleet, without those that the assignment knows by now: it counts them."""
    for uid, _, indices in host.orphans:
        known = _ranges_of(host.assignment.shards, uid)
        buried = IndexSet.union_of(t.ranges for t in tombstones if t.fleet == uid)
        if stray := indices - known - buried:
            yield uid, stray


def _largest(fleet: str, prints: Mapping[tuple[str, int], tuple[int, ...]]) -> tuple[int, ...]:
    """The most that a VM of the fleet takes in any generation: a tombstone has several."""
    sizes = [size for (uid, _), size in prints.items() if uid == fleet]
    return tuple(map(max, zip(*sizes, strict=True))) if sizes else _GUEST


def _take(draft: _Draft, size: Sequence[int], count: int) -> None:
    draft.used = [have + each * count for have, each in zip(draft.used, size, strict=True)]


def _shrink(fleet: FleetRecord, drafts: Mapping[str, _Draft], taker: _Tombstoner) -> dict[str, int]:
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
            taker.bury(draft, fleet.uid, excess, shard.birth)
            removed[name] = removed.get(name, 0) + len(excess)
            rest = shard.ranges - excess
            if rest:
                kept.append(Shard(shard.fleet, rest, shard.generation, shard.birth, shard.power))
        draft.shards = kept
        draft.own[fleet.uid] -= removed.get(name, 0)
    return removed


def _forsake(view: ClusterView, drafts: Mapping[str, _Draft], taker: _Tombstoner) -> frozenset[str]:
    """Bury what lost hosts held of fleets that replace; which hosts that changes.

    A VM's own generation says whether it waits: that is what its host knows, too.
    """
    forsaken = set()
    for name, draft in drafts.items():
        if not draft.view.record.lost:
            continue
        kept = []
        for shard in draft.shards:
            spec = view.specs.get((shard.fleet, shard.generation))
            if spec is None or spec.on_loss != types.ON_LOSS_REPLACE:
                kept.append(shard)
                continue
            taker.bury(draft, shard.fleet, shard.ranges, shard.birth)
            draft.own[shard.fleet] -= len(shard.ranges)
            forsaken.add(name)
        draft.shards = kept
    return frozenset(forsaken)


def _release_orphans(view: ClusterView, drafts: Mapping[str, _Draft], taker: _Tombstoner) -> None:
    """Bury orphans whose index another host is assigned, and those of deleted fleets."""
    uids = {uid for draft in drafts.values() for uid, _, _ in draft.view.orphans}
    for uid in sorted(uids):
        held = _held(uid, drafts.values())
        for draft in drafts.values():
            for fleet, birth, indices in draft.view.orphans:
                if fleet != uid:
                    continue
                unwanted = indices if uid in view.gone else indices & held
                own = _ranges_of(draft.shards, uid)
                buried = IndexSet.union_of(t.ranges for t in draft.tombstones if t.fleet == uid)
                if unwanted := unwanted - own - buried:
                    taker.bury(draft, uid, unwanted, birth)


def _held(fleet: str, drafts: Iterable[_Draft]) -> IndexSet:
    """What hosts hold of the fleet; what is staged is another's still."""
    return IndexSet.union_of(
        shard.ranges
        for draft in drafts
        for shard in draft.shards
        if shard.fleet == fleet and not shard.staged
    )


def _ranges_of(shards: Iterable[Shard], fleet: str) -> IndexSet:
    return IndexSet.union_of(shard.ranges for shard in shards if shard.fleet == fleet)


def _grow(
    fleet: FleetRecord,
    view: ClusterView,
    drafts: Mapping[str, _Draft],
    prints: Mapping[tuple[str, int], tuple[int, ...]],
    removed: Mapping[str, int],
) -> FleetPlan:
    spec = view.specs.get((fleet.uid, fleet.generation), types.FleetSpec())
    size = prints.get((fleet.uid, fleet.generation), _GUEST)
    held = IndexSet.union_of(  # what is staged is on its way, and placed nowhere else
        shard.ranges
        for draft in drafts.values()
        for shard in draft.shards
        if shard.fleet == fleet.uid
    )
    missing = fleet.wanted - held
    releasing = missing & _buried(fleet.uid, drafts.values(), lost=False)
    free = missing - releasing
    added: dict[str, int] = {}
    unplaced: tuple[Unplaced, ...] = ()
    if missing:
        candidates = [draft for draft in drafts.values() if eligible(draft.view, spec.placement)]
        urgent = free & _buried(fleet.uid, drafts.values(), lost=True)
        rest = EMPTY
        for part, share in ((urgent, _packed), (free - urgent, _shares)):
            rooms = [room(draft.view, draft.used, size, own_room(draft, fleet, spec))
                     for draft in candidates]  # fmt: skip
            shares = share(spec.placement, fleet.uid, candidates, rooms, len(part))
            rest = rest | _deal(fleet, view.revision, part, candidates, shares, size, added)
        unplaced = explain(fleet, spec, view, rest, releasing, size)
    touched = sorted(set(added) | set(removed))
    deltas = tuple(
        HostDelta(name, added.get(name, 0), removed.get(name, 0), drafts[name].own[fleet.uid])
        for name in touched
    )
    return FleetPlan(fleet, sum(added.values()), sum(removed.values()), deltas, unplaced)


def _buried(fleet: str, drafts: Iterable[_Draft], *, lost: bool) -> IndexSet:
    """What lost hosts, or all others, have still to release of the fleet."""
    return IndexSet.union_of(
        tombstone.ranges
        for draft in drafts
        if draft.view.record.lost is lost
        for tombstone in draft.tombstones
        if tombstone.fleet == fleet
    )


def eligible(host: HostView, rule: types.Placement) -> bool:
    """Whether the fleet may be placed on the host at all, room aside."""
    labels = host.record.labels
    return (
        host.reachable
        and not host.record.cordoned
        and not host.record.lost
        and not host.record.quarantine
        and all(labels.get(key) == value for key, value in rule.selector.items())
    )


def own_room(draft: _Draft, fleet: FleetRecord, spec: types.FleetSpec) -> int:
    """How many more of the fleet its own per-host setting lets this host have."""
    limit = spec.placement.per_host
    return max(0, limit - draft.own.get(fleet.uid, 0)) if limit else UNLIMITED


def room(host: HostView, used: Sequence[int], size: Sequence[int], most: int) -> int:
    """How many more VMs of this footprint fit on the host; at most `most`."""
    most = min(most, host.record.capacity.guests - used[0])
    for limit, have, each in zip(_vector(host.record.capacity), used, size, strict=True):
        if limit and each:
            most = min(most, (limit - have) // each)
    return max(0, most)


def _vector(capacity: Capacity) -> tuple[int, ...]:
    return tuple(getattr(capacity, name) for name in RESOURCES)


def _packed(
    rule: types.Placement,
    uid: str,
    candidates: Sequence[_Draft],
    rooms: Sequence[int],
    amount: int,
) -> list[int]:
    """On as few hosts as will do: those with the most room, so that few have to be told."""
    order = sorted(range(len(rooms)), key=lambda i: (-rooms[i], i))
    return _in_order(order, rooms, amount)


def _in_order(order: Sequence[int], rooms: Sequence[int], amount: int) -> list[int]:
    """Packed in this order of positions."""
    shares = [0] * len(rooms)
    for position, share in zip(order, pack([rooms[i] for i in order], amount), strict=True):
        shares[position] = share
    return shares


def _shares(
    rule: types.Placement,
    uid: str,
    candidates: Sequence[_Draft],
    rooms: Sequence[int],
    amount: int,
) -> list[int]:
    if rule.policy == types.Placement.POLICY_PACK:
        order = sorted(range(len(rooms)), key=lambda i: (-candidates[i].used[0], i))
        return _in_order(order, rooms, amount)
    groups: dict[str, list[int]] = defaultdict(list)
    for position, draft in enumerate(candidates):
        groups[draft.view.record.labels.get(rule.spread_label, "")].append(position)
    names = sorted(groups)
    per_group = level(
        [sum(candidates[i].own.get(uid, 0) for i in groups[name]) for name in names],
        [min(amount, sum(rooms[i] for i in groups[name])) for name in names],
        amount,
    ) if names else []  # fmt: skip
    shares = [0] * len(rooms)
    for name, part in zip(names, per_group, strict=True):
        members = groups[name]
        loads = [candidates[i].used[0] for i in members]
        leveled = level(loads, [min(part, rooms[i]) for i in members], part)
        for position, share in zip(members, leveled, strict=True):
            shares[position] = share
    return shares


def _deal(
    fleet: FleetRecord,
    birth: int,
    free: IndexSet,
    candidates: Sequence[_Draft],
    shares: Sequence[int],
    size: Sequence[int],
    added: dict[str, int],
) -> IndexSet:
    """Give each candidate its share, lowest indices first, and add it up; the rest."""
    deck = _Deck(free)
    for draft, share in zip(candidates, shares, strict=True):
        if share:
            draft.shards.append(Shard(fleet.uid, deck.deal(share), fleet.generation, birth))
            draft.own[fleet.uid] = draft.own.get(fleet.uid, 0) + share
            draft.changed = True
            _take(draft, size, share)
            name = draft.view.record.id
            added[name] = added.get(name, 0) + share
    return deck.rest()


class _Deck:
    """Deals indices from a set in order, in time proportional to the ranges dealt."""

    def __init__(self, indices: IndexSet) -> None:
        self._ranges = list(reversed(indices.ranges))

    def deal(self, count: int) -> IndexSet:
        pairs = []
        while count and self._ranges:
            start, stop = self._ranges.pop()
            cut = min(stop, start + count)
            pairs.append((start, cut))
            count -= cut - start
            if cut < stop:
                self._ranges.append((cut, stop))
        return IndexSet(pairs)

    def rest(self) -> IndexSet:
        return IndexSet(self._ranges)


def _merged(shards: Iterable[Shard]) -> tuple[Shard, ...]:
    """Shards that differ only in their ranges become one; ordered by fleet and birth."""
    ranges: dict[tuple[str, int, int, bool], list[IndexSet]] = defaultdict(list)
    for shard in shards:
        ranges[shard.fleet, shard.birth, shard.generation, shard.power].append(shard.ranges)
    return tuple(
        Shard(fleet, IndexSet.union_of(sets), generation, birth, power)
        for (fleet, birth, generation, power), sets in sorted(ranges.items())
    )
