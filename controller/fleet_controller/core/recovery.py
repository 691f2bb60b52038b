"""Going on after the store came back older than its hosts, or as another: what would be written.

Pure: a view of the store and of what hosts report in, a plan out. Either the store's assignments
hold as they are, or those of hosts that are ahead of it are made anew of what they have:

- A host that is ahead, or of which the store knows nothing, is assigned what it has, orphans too,
  with the births it has. What it was removing goes on being removed, by a tombstone.
- Any other host keeps what the store says: it has never heard anything newer.
- An index that two have stays with one: a host that was heard before one that was not, what
  runs before what does not, what its host was told to have before an orphan, the later birth,
  and then the host's name. The others get a tombstone for it.
- What is only staged goes on being staged, beside whoever has the index: it starts once nobody has
  it, as ever. So does what is defined, and does not run, on a host of which the store knows no
  better, where another has the index: it is on its way there rather than off.
- What the store says is off stays off, unless it runs.
- Rollouts are paused, and a lost host that was heard and is ahead is lost no more.
"""

from __future__ import annotations

import hashlib
from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.inventory import HostInventory, Inventory, Kin
from fleet_controller.core.model import (
    Assignment,
    FleetRecord,
    HostRecord,
    Meta,
    RolloutRecord,
    RolloutState,
    Shard,
    Tombstone,
)
from fleet_controller.core.recovered_fleets import RecoveredFleets, recovered_fleets

RUNNING = (int(types.VM_STATE_RUNNING), int(types.VM_STATE_BOOTING))
DEFINED = int(types.VM_STATE_DEFINED)
STOPPING = int(types.VM_STATE_STOPPING)
# Births and tombstones begin so far above all that was heard of: hosts that were not heard may
# have been given later ones before the store was set back.
MARGIN = 1 << 32
# A number beyond is nonsense of a broken host: ids of tombstones are revisions times 2^16.
MOST = 1 << 46

_NOTHING = Assignment()
_PAUSED = "paused by a recovery: what the store says of it may be old"
# (heard, running, told to have it, birth): the higher one keeps an index.
Rank = tuple[bool, bool, bool, int]


@dataclass(frozen=True, slots=True)
class RecoveryView:
    """The store, unraised, and what was reported. `ahead`: hosts heard that have seen more than
    the store holds."""

    revision: int
    cluster: str
    meta: Meta
    hosts: Mapping[str, HostRecord]
    assignments: Mapping[str, Assignment]
    fleets: Mapping[str, FleetRecord]  # by name
    specs: Mapping[tuple[str, int], types.FleetSpec]
    inventory: Inventory
    ahead: frozenset[str]
    gone: frozenset[str] = frozenset()  # uids of fleets that were deleted
    rollouts: Mapping[str, RolloutRecord] = field(default_factory=dict)  # by uid


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator says: how, which totals hold, which hosts are gone."""

    adopt: bool
    totals: Mapping[str, int] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FleetFinding:
    """One fleet: see fleet.v1.RecoverFleet."""

    record: FleetRecord
    confirmed: bool
    running: int
    adopted: int
    twice: int
    missing: int
    excess: int
    problem: str


@dataclass(frozen=True, slots=True)
class RecoveryPlan:
    """`assignments`: those that change. `unseen`: hosts to be accounted for. `complete`: nothing
    is left to be confirmed."""

    assignments: Mapping[str, Assignment]
    fleets: tuple[FleetFinding, ...]
    specs: Mapping[tuple[str, int], types.FleetSpec]  # that the store lacks
    lost: tuple[HostRecord, ...]
    returned: tuple[HostRecord, ...]  # that were lost, and are not
    paused: tuple[RolloutRecord, ...]
    meta: Meta
    unseen: tuple[str, ...]
    unconfirmed: tuple[str, ...]
    token: str

    @property
    def complete(self) -> bool:
        return not self.unseen and not self.unconfirmed


@dataclass(frozen=True, slots=True)
class _Claim:
    """`doubtful`: it may be staged and not off, for all that the store knows."""

    host: str
    shard: Shard
    rank: Rank
    doubtful: bool = False


def plan_recovery(view: RecoveryView, wish: Wish) -> RecoveryPlan:
    """What would be written so that changes can be taken again."""
    known = recovered_fleets(view.fleets, view.specs, view.inventory, view.gone, wish.adopt)
    found = _claims(view, known, wish.adopt)
    claims = _on_their_way([one for one in found if one.shard.fleet in known.by_uid])
    kept, lost, twice = _settled([one for one in claims if not one.shard.staged])
    staged, spare, _ = _settled([one for one in claims if one.shard.staged])
    meta = _meta(view, known)
    stamp = view.revision + meta.raised
    assignments = _assignments(view, wish, known, kept + staged, lost + spare, stamp)
    fleets = tuple(_findings(view, wish, known, kept, staged, twice))
    heard = view.inventory.hosts.keys()
    return RecoveryPlan(
        assignments=assignments,
        fleets=fleets,
        specs=known.new_specs,
        lost=tuple(
            msgspec.structs.replace(view.hosts[host], lost=True) for host in sorted(wish.absent)
        ),
        returned=tuple(
            msgspec.structs.replace(record, lost=False)
            for host, record in sorted(view.hosts.items())
            if wish.adopt and record.lost and host in heard and _is_rebuilt(view, host)
        ),
        paused=tuple(
            msgspec.structs.replace(one, state=RolloutState.PAUSED, why=_PAUSED)
            for _, one in sorted(view.rollouts.items())
            if wish.adopt and one.state is RolloutState.RUNNING
        ),
        meta=meta,
        unseen=tuple(
            host
            for host, record in sorted(view.hosts.items())
            if wish.adopt and host not in heard and host not in wish.absent and not record.lost
        ),
        unconfirmed=tuple(f.record.name for f in fleets if not f.confirmed and not f.problem),
        token=_token(assignments, wish),
    )


# ---- who has what -------------------------------------------------------------------------


def _claims(view: RecoveryView, known: RecoveredFleets, adopt: bool) -> Iterator[_Claim]:
    off = _known_off(view)
    for host in view.hosts:
        has = view.inventory.hosts.get(host)
        if has is not None and adopt and _is_rebuilt(view, host):
            stored = view.assignments.get(host, _NOTHING).shards
            for claim in _claims_of_what_it_has(host, has, known, off):
                yield from _as_stored(claim, stored)
            continue
        for shard in view.assignments.get(host, _NOTHING).shards:
            yield from _claims_of_a_shard(host, shard, has)


def _is_rebuilt(view: RecoveryView, host: str) -> bool:
    return host in view.ahead or host not in view.assignments


def _known_off(view: RecoveryView) -> dict[str, IndexSet]:
    """What operators have stopped, for all that the store knows, by fleet."""
    off: dict[str, list[IndexSet]] = defaultdict(list)
    for one in view.assignments.values():
        for shard in one.shards:
            if not shard.power:
                off[shard.fleet].append(shard.ranges)
        for stone in one.tombstones:
            off[stone.fleet].append(stone.off)
    return {fleet: IndexSet.union_of(sets) for fleet, sets in off.items()}


def _claims_of_what_it_has(
    host: str, has: HostInventory, known: RecoveredFleets, off: Mapping[str, IndexSet]
) -> Iterator[_Claim]:
    for kin, states in has.states.items():
        if (kin.fleet, kin.generation) not in known.specs:
            continue
        orphans = has.orphans.get((kin.fleet, kin.birth), EMPTY)
        running = has.having(kin, *RUNNING)
        every = IndexSet.union_of(found for state, found in states.items() if state != STOPPING)
        # A host with nothing left to do, and a VM that is defined and not started: it is off.
        idle = (has.having(kin, DEFINED) if has.converged else EMPTY) - orphans - running
        stopped = (every & off.get(kin.fleet, EMPTY)) - running - idle
        for indices, runs, power, doubtful in (
            (running, True, True, False),
            (idle, False, False, True),
            (stopped, False, False, False),
            (every - running - idle - stopped, False, True, False),
        ):
            for part, told in ((indices - orphans, True), (indices & orphans, False)):
                if part:
                    shard = Shard(kin.fleet, part, kin.generation, kin.birth, power)
                    yield _Claim(host, shard, (True, runs, told, kin.birth), doubtful)


def _as_stored(claim: _Claim, stored: Iterable[Shard]) -> Iterator[_Claim]:
    """What the store knows of this very birth on the host: whether it is staged there, and for
    which restart it runs."""
    runs = claim.rank[1]
    for one in stored:
        if (one.fleet, one.birth) != (claim.shard.fleet, claim.shard.birth):
            continue
        staged = one.staged and not runs
        for part in _part(claim, claim.shard.ranges & one.ranges):
            shard = msgspec.structs.replace(
                part.shard, staged=staged, restart=one.restart,
                power=one.power if staged else part.shard.power,
            )  # fmt: skip
            yield replace(part, shard=shard, doubtful=False)
        rest = claim.shard.ranges - one.ranges
        claim = replace(claim, shard=msgspec.structs.replace(claim.shard, ranges=rest))
    yield from _part(claim, claim.shard.ranges)


def _on_their_way(claims: Sequence[_Claim]) -> list[_Claim]:
    """The same, where what is in doubt is staged if another has it. Its power is that of the
    other, which says itself whether it is off."""
    sure: dict[tuple[str, bool], list[IndexSet]] = defaultdict(list)
    for claim in claims:
        if not (claim.doubtful or claim.shard.staged):
            sure[claim.shard.fleet, claim.shard.power].append(claim.shard.ranges)
    union = {key: IndexSet.union_of(sets) for key, sets in sure.items()}
    settled: list[_Claim] = []
    for claim in claims:
        ranges = claim.shard.ranges
        if claim.doubtful:
            for power in (True, False):
                moving = ranges & union.get((claim.shard.fleet, power), EMPTY)
                shard = msgspec.structs.replace(claim.shard, staged=True, power=power)
                settled += _part(replace(claim, shard=shard), moving)
                ranges = ranges - moving
        settled += _part(claim, ranges)
    return settled


def _claims_of_a_shard(host: str, shard: Shard, has: HostInventory | None) -> Iterator[_Claim]:
    kin = Kin(shard.fleet, shard.generation, shard.birth)
    running = shard.ranges & has.having(kin, *RUNNING) if has else EMPTY
    for part, runs in ((running, True), (shard.ranges - running, False)):
        if part:
            rank = (has is not None, runs, True, shard.birth)
            yield _Claim(host, msgspec.structs.replace(shard, ranges=part), rank)


# ---- who keeps it -------------------------------------------------------------------------


def _settled(
    claims: Sequence[_Claim],
) -> tuple[list[_Claim], list[_Claim], Mapping[str, IndexSet]]:
    """What each keeps and what each loses; and by fleet what two had."""
    by_fleet: dict[str, list[_Claim]] = defaultdict(list)
    for claim in claims:
        by_fleet[claim.shard.fleet].append(claim)
    kept: list[_Claim] = []
    lost: list[_Claim] = []
    twice = {}
    for fleet, mine in by_fleet.items():
        mine.sort(key=lambda claim: claim.host)
        mine.sort(key=lambda claim: claim.rank, reverse=True)
        losing = had_by_an_earlier_one([claim.shard.ranges for claim in mine])
        twice[fleet] = IndexSet.union_of(losing)
        for claim, loses in zip(mine, losing, strict=True):
            kept += _part(claim, claim.shard.ranges - loses)
            lost += _part(claim, loses)
    return kept, lost, twice


def had_by_an_earlier_one(sets: Sequence[IndexSet]) -> list[IndexSet]:
    """Of each set the part that one before it has as well. In one sweep over all ranges."""
    ends: list[tuple[int, bool, int]] = []  # (index, begins, which set)
    for number, one in enumerate(sets):
        for start, stop in one.ranges:
            ends += ((start, True, number), (stop, False, number))
    ends.sort()
    losing: list[list[tuple[int, int]]] = [[] for _ in sets]
    open_: list[int] = []  # the sets that have the present index, the first ones first
    last = 0
    for index, begins, number in ends:
        if index > last:
            for loser in open_[1:]:
                losing[loser].append((last, index))
        last = index
        if begins:
            insort(open_, number)
        else:
            open_.remove(number)
    return [IndexSet(pairs) for pairs in losing]


def _part(claim: _Claim, indices: IndexSet) -> list[_Claim]:
    if not indices:
        return []
    return [replace(claim, shard=msgspec.structs.replace(claim.shard, ranges=indices))]


# ---- what is written ----------------------------------------------------------------------


def _assignments(
    view: RecoveryView,
    wish: Wish,
    known: RecoveredFleets,
    kept: Iterable[_Claim],
    lost: Iterable[_Claim],
    stamp: int,
) -> dict[str, Assignment]:
    """The assignments that are not as they should be."""
    if not wish.adopt:
        return {}
    shards: dict[str, list[Shard]] = defaultdict(list)
    graves: dict[str, list[Shard]] = defaultdict(list)
    for claim in kept:
        shards[claim.host].append(claim.shard)
    for claim in lost:
        graves[claim.host].append(claim.shard)
    changed = {}
    for host in sorted(view.hosts):
        have = view.assignments.get(host, _NOTHING)
        has = view.inventory.hosts.get(host)
        old = have.tombstones
        if has is not None and _is_rebuilt(view, host):
            # It was told of other ones since; what was stopped on it may be placed nowhere yet.
            old = tuple(stone for stone in old if stone.off)
            graves[host] += _being_removed(has, known)
        made = Assignment(_merged(shards[host]), old + _tombstones(graves[host], stamp))
        if made != have:
            changed[host] = made
    return changed


def _being_removed(has: HostInventory, known: RecoveredFleets) -> list[Shard]:
    """What a word that the store has forgotten takes away: agents need the fleet's name for it."""
    return [
        Shard(kin.fleet, gone, kin.generation, kin.birth)
        for kin in has.states
        if kin.fleet in known.by_uid and (gone := has.having(kin, STOPPING))
    ]


def _tombstones(graves: Iterable[Shard], stamp: int) -> tuple[Tombstone, ...]:
    return tuple(
        Tombstone((stamp << 16) + number, one.fleet, one.ranges, one.birth, staged=one.staged)
        for number, one in enumerate(graves, start=1)
    )


def _merged(shards: Iterable[Shard]) -> tuple[Shard, ...]:
    """Shards that differ in their ranges alone become one."""
    ranges: dict[Shard, list[IndexSet]] = defaultdict(list)
    for shard in shards:
        ranges[msgspec.structs.replace(shard, ranges=EMPTY)].append(shard.ranges)
    made = [
        msgspec.structs.replace(shard, ranges=IndexSet.union_of(sets))
        for shard, sets in ranges.items()
    ]
    return tuple(
        sorted(made, key=lambda s: (s.fleet, s.birth, s.generation, s.power, s.staged, s.restart))
    )


def _meta(view: RecoveryView, known: RecoveredFleets) -> Meta:
    """The store's own record afterwards: a generation above all that were heard of, so that every
    host takes the leader's word again, and births above all that were given."""
    generations, revisions = [view.meta.generation], [view.revision + view.meta.raised]
    for has in view.inventory.hosts.values():
        for generation, revision in (has.epoch, has.term):
            generations.append(generation)
            revisions.append(revision)
        revisions += [kin.birth for kin in has.states]
    raised = max(one for one in revisions if one < MOST) + MARGIN - view.revision
    numbers = [fleet.number for fleet in known.by_uid.values()]
    return msgspec.structs.replace(
        view.meta,
        generation=max(one for one in generations if one < MOST) + 1,
        cluster=view.cluster,
        raised=raised,
        last_number=max([view.meta.last_number, *numbers]),
    )


# ---- what is shown ------------------------------------------------------------------------


def _findings(
    view: RecoveryView,
    wish: Wish,
    known: RecoveredFleets,
    kept: Iterable[_Claim],
    staged: Iterable[_Claim],
    twice: Mapping[str, IndexSet],
) -> Iterator[FleetFinding]:
    held: dict[str, list[IndexSet]] = defaultdict(list)
    adopted: dict[str, int] = defaultdict(int)
    for claim in staged:
        held[claim.shard.fleet].append(claim.shard.ranges)
    for claim in kept:
        held[claim.shard.fleet].append(claim.shard.ranges)
        if wish.adopt and claim.host in view.inventory.hosts and _is_rebuilt(view, claim.host):
            adopted[claim.shard.fleet] += len(claim.shard.ranges)
    running: dict[str, int] = defaultdict(int)
    for has in view.inventory.hosts.values():
        for kin in has.states:
            running[kin.fleet] += len(has.having(kin, RUNNING[0]))
    for record in known.all_records:
        total = wish.totals.get(record.name, record.total)
        wanted, have = IndexSet.span(0, total), IndexSet.union_of(held[record.uid])
        yield FleetFinding(
            record=msgspec.structs.replace(record, total=total),
            confirmed=record.name in wish.totals or record.deleting or not wish.adopt,
            running=running[record.uid],
            adopted=adopted[record.uid],
            twice=len(twice.get(record.uid, EMPTY)),
            missing=len(wanted - have),
            excess=len(have - wanted),
            problem=known.problems.get(record.uid, ""),
        )


def _token(assignments: Mapping[str, Assignment], wish: Wish) -> str:
    """A digest of what the plan does, the ids of its tombstones aside: equal for equal effects."""
    effect = [
        (host, [(str(shard), str(shard.ranges)) for shard in one.shards],
         [(stone.fleet, str(stone.ranges), stone.born_until) for stone in one.tombstones])
        for host, one in sorted(assignments.items())
    ]  # fmt: skip
    text = repr((wish.adopt, effect))
    return hashlib.blake2b(text.encode(), digest_size=9).hexdigest()
