"""Placement: which host runs which index. A pure function of a ClusterView.

It keeps what runs where it runs; it adds on the least loaded hosts (or packs), and takes away
from the highest index. An index is placed only when no assignment and no tombstone that is
still unacknowledged holds it; what a lost host has to release holds nothing. What lost hosts had
is packed on few others, and what was stopped stays off. What fits nowhere is explained.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from msgspec import structs

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
    # Acknowledged ones that say what is to stay off, until it is placed again.
    remembered: list[Tombstone] = field(default_factory=list)

    def assignment(self) -> Assignment:
        return Assignment(_merged(self.shards), (*self.remembered, *self.tombstones))


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
        name: draft.assignment()
        for name, draft in sorted(drafts.items(), key=lambda item: item[0] not in first)
        if draft.changed
    }
    return Placement(changed, plans, first)


class _Tombstoner:
    """Gives tombstones ids that no earlier one of the same host has: they grow with the
    revision that a plan was made from, and every write raises it."""

    def __init__(self, revision: int) -> None:
        self._base = revision << 16

    def bury(
        self, draft: _Draft, shard: Shard, ranges: IndexSet, *, given_up: bool = False
    ) -> None:
        """These of a shard are to be let go. `given_up`: what was off is to stay so elsewhere."""
        known = (*draft.remembered, *draft.tombstones)
        last = max((self._base, *(tombstone.id for tombstone in known)))
        off = ranges if given_up and not shard.power else EMPTY
        draft.tombstones.append(
            Tombstone(last + 1, shard.fleet, ranges, shard.birth, off, shard.staged)
        )
        draft.changed = True


def _draft(host: HostView, prints: Mapping[tuple[str, int], tuple[int, ...]]) -> _Draft:
    draft = _Draft(host, list(host.assignment.shards), list(host.pending_tombstones), [0] * 5)
    draft.remembered = [
        tombstone
        for tombstone in host.assignment.tombstones
        if tombstone.off and tombstone.id in host.released
    ]
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
            taker.bury(draft, shard, excess)
            removed[name] = removed.get(name, 0) + len(excess)
            rest = shard.ranges - excess
            if rest:
                kept.append(structs.replace(shard, ranges=rest))
        draft.shards = kept
        draft.own[fleet.uid] -= removed.get(name, 0)
    return removed


def _forsake(view: ClusterView, drafts: Mapping[str, _Draft], taker: _Tombstoner) -> frozenset[str]:
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


def _release_orphans(view: ClusterView, drafts: Mapping[str, _Draft], taker: _Tombstoner) -> None:
    """Bury orphans whose index another host is assigned, and those of deleted fleets.

    Of what is only staged somewhere too: it starts there as soon as nobody else has it.
    """
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
                    taker.bury(draft, Shard(uid, unwanted, 0, birth), unwanted)


def _held(fleet: str, drafts: Iterable[_Draft]) -> IndexSet:
    """What hosts hold of the fleet, or have staged: that is on its way, and goes nowhere else."""
    return IndexSet.union_of(
        shard.ranges for draft in drafts for shard in draft.shards if shard.fleet == fleet
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
    missing = fleet.wanted - _held(fleet.uid, drafts.values())
    releasing = missing & _buried(fleet.uid, drafts.values(), lost=False)
    free = missing - releasing
    added: Counter[str] = Counter()
    unplaced: tuple[Unplaced, ...] = ()
    off = _stopped(fleet.uid, drafts.values(), missing)
    if missing:
        candidates = [draft for draft in drafts.values() if eligible(draft.view, spec.placement)]
        urgent = free & _buried(fleet.uid, drafts.values(), lost=True)
        rest = EMPTY
        for part, share in ((urgent, _packed), (free - urgent, _shares)):
            rooms = [room(draft.view, draft.used, size, own_room(draft, fleet, spec))
                     for draft in candidates]  # fmt: skip
            shares = share(spec.placement, fleet.uid, candidates, rooms, len(part))
            kind = Shard(fleet.uid, part, fleet.generation, view.revision)
            dealt, left = _deal(kind, off, candidates, shares, size)
            added.update(dealt)
            rest = rest | left
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
        and not host.record.draining
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


def _stopped(uid: str, drafts: Iterable[_Draft], missing: IndexSet) -> IndexSet:
    """What an operator had stopped on hosts that were given up since: it stays off. What is
    placed again, or wanted no more, says so itself, and is forgotten here."""
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


def _deal(
    kind: Shard,
    off: IndexSet,
    candidates: Sequence[_Draft],
    shares: Sequence[int],
    size: Sequence[int],
) -> tuple[dict[str, int], IndexSet]:
    """Give each candidate its share of a shard, lowest indices first, those that are to be off
    without power; how many each got, and the rest."""
    added = {}
    deck = _Deck(kind.ranges)
    for draft, share in zip(candidates, shares, strict=True):
        if share:
            dealt = deck.deal(share)
            for ranges, power in ((dealt - off, kind.power), (dealt & off, False)):
                if ranges:
                    draft.shards.append(structs.replace(kind, ranges=ranges, power=power))
            draft.own[kind.fleet] = draft.own.get(kind.fleet, 0) + share
            draft.changed = True
            _take(draft, size, share)
            added[draft.view.record.id] = share
    return added, deck.rest()


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
    alike: dict[tuple[str, int, int, bool, bool, int], list[Shard]] = defaultdict(list)
    for one in shards:
        key = (one.fleet, one.birth, one.generation, one.power, one.staged, one.restart)
        alike[key].append(one)
    return tuple(
        structs.replace(same[0], ranges=IndexSet.union_of(shard.ranges for shard in same))
        for _, same in sorted(alike.items(), key=lambda item: item[0])
    )


class Drafts:
    """All hosts of a view while something besides placement is decided about what they hold.

    They begin as a placement has left them (`decided`: assignments by host id), so that room is
    counted once for all.
    """

    def __init__(self, view: ClusterView, decided: Mapping[str, Assignment]) -> None:
        self._view = view
        self._decided = decided
        self._prints = {key: _vector(footprint(spec)) for key, spec in view.specs.items()}
        self._taker = _Tombstoner(view.revision)
        self._fleets = {fleet.uid: fleet for fleet in view.fleets.values()}
        self._drafts = {
            name: _draft(
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
                _take(draft, self._prints.get((one.fleet, one.generation), _GUEST), count)
        draft.changed = True

    def add(self, kind: Shard) -> IndexSet:
        """Divide a shard among the hosts that may have it, by its fleet's rules; what fits on
        none."""
        fleet = self._fleets[kind.fleet]
        key = (kind.fleet, kind.generation)
        spec = self._view.specs.get(key, types.FleetSpec())
        size = self._prints.get(key, _GUEST)
        candidates = [d for d in self._drafts.values() if eligible(d.view, spec.placement)]
        rooms = [room(d.view, d.used, size, own_room(d, fleet, spec)) for d in candidates]
        shares = _shares(spec.placement, kind.fleet, candidates, rooms, len(kind.ranges))
        return _deal(kind, EMPTY, candidates, shares, size)[1]

    def fitting(self, host: str, shard: Shard, kind: Shard) -> int:
        """How many VMs of the shard the host could have as this kind instead."""
        draft = self._drafts[host]
        old, new = (self._prints.get((s.fleet, s.generation), _GUEST) for s in (shard, kind))
        limits = _vector(draft.view.record.capacity)
        growth = zip(limits, draft.used, old, new, strict=True)
        fits = [
            max(0, limit - used) // (after - before)
            for limit, used, before, after in growth
            if limit and after > before
        ]
        return min([len(shard.ranges), *fits])

    def assignments(self) -> dict[str, Assignment]:
        """All that differ from the store, those decided before included."""
        changed = {
            name: draft.assignment() for name, draft in self._drafts.items() if draft.changed
        }
        return {**self._decided, **changed}
