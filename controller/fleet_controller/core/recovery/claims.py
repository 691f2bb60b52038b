"""Who has which VM after the store came back, and who keeps it where two have the same.

Pure. Hosts claim what they have, or what the store says they have: see `recovery`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from fleet.identity import MAX_INDEX
from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import NOTHING, Shard
from fleet_controller.core.recovery.inventory import HostInventory
from fleet_controller.core.recovery.recovered_fleets import RecoveredFleets
from fleet_controller.core.recovery.view import RecoveryView
from fleet_controller.core.shards import had_by_an_earlier_one
from fleet_controller.core.vm_states import BOOTING, DEFINED, RUNNING, STOPPING

_UP = (RUNNING, BOOTING)
_ANY_INDEX = IndexSet.span(0, MAX_INDEX + 1)
# (heard, proven, running, told to have it, birth): the higher one keeps an index.
Rank = tuple[bool, bool, bool, bool, int]


@dataclass(frozen=True, slots=True)
class Claim:
    """`doubtful`: it may be staged and not off, for all that the store knows."""

    host: str
    shard: Shard
    rank: Rank
    doubtful: bool = False

    @property
    def proven(self) -> bool:
        """Whether a leader has said so: the store has it, or the host proves it."""
        return self.rank[1]

    @property
    def runs(self) -> bool:
        return self.rank[2]


def claims_of(view: RecoveryView, known: RecoveredFleets, adopt: bool) -> Iterator[Claim]:
    """What each host of the store has or is to have. `adopt`: what those have that are ahead of it
    counts, and not what it says of them."""
    off = _known_off(view)
    for host in view.hosts:
        has = view.inventory.hosts.get(host)
        if has is not None and adopt and view.is_rebuilt(host):
            stored = view.assignments.get(host, NOTHING).shards
            guests = view.guests.get(host, 0)
            claims = _within_its_size(_claims_of_what_it_has(host, has, known, off), guests)
            for claim in claims:
                yield from _as_stored(claim, stored)
            continue
        for shard in view.assignments.get(host, NOTHING).shards:
            yield from _claims_of_a_shard(host, shard, has)


def _within_its_size(claims: Iterable[Claim], guests: int) -> Iterator[Claim]:
    """What a host proves that it was to have; and of the rest, which rests on its bare word, what
    it has room for beside that, the lowest indices of what runs first. What is left out goes on as
    an orphan. `guests`: as many as it is believed to admit."""
    found = list(claims)
    room = guests - sum(len(claim.shard.ranges) for claim in found if claim.proven)
    for claim in sorted(found, key=lambda one: (not one.proven, not one.runs)):
        if claim.proven:
            yield claim
            continue
        counted = (claim.shard.ranges & _ANY_INDEX).lowest(max(0, room))
        room -= len(counted)
        yield from _part(claim, counted)


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
) -> Iterator[Claim]:
    for kin, states in has.states.items():
        if (kin.fleet_uid, kin.generation) not in known.specs:
            continue
        orphans = has.orphans.get((kin.fleet_uid, kin.birth), EMPTY)
        running = has.having(kin, *_UP)
        every = IndexSet.union_of(found for state, found in states.items() if state != STOPPING)
        # A host with nothing left to do, and a VM that is defined and not started: it is off.
        idle = (has.having(kin, DEFINED) if has.converged else EMPTY) - orphans - running
        stopped = (every & off.get(kin.fleet_uid, EMPTY)) - running - idle
        for indices, runs, power, doubtful in (
            (running, True, True, False),
            (idle, False, False, True),
            (stopped, False, False, False),
            (every - running - idle - stopped, False, True, False),
        ):
            mine = indices - orphans if has.told is None else indices & has.told.get(kin, EMPTY)
            for part, assigned in ((mine, True), (indices - mine, False)):
                if part:
                    shard = Shard(kin.fleet_uid, part, kin.generation, kin.birth, power)
                    proven = assigned and has.told is not None
                    yield Claim(host, shard, (True, proven, runs, assigned, kin.birth), doubtful)


def _as_stored(claim: Claim, stored: Iterable[Shard]) -> Iterator[Claim]:
    """What the store knows of this very birth on the host: whether it is staged there, and for
    which restart it runs."""
    runs = claim.runs
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


def on_their_way(claims: Sequence[Claim]) -> list[Claim]:
    """The same, where what is in doubt is staged if another has it. Its power is that of the
    other, which says itself whether it is off."""
    sure: dict[tuple[str, bool], list[IndexSet]] = defaultdict(list)
    for claim in claims:
        if not (claim.doubtful or claim.shard.staged):
            sure[claim.shard.fleet, claim.shard.power].append(claim.shard.ranges)
    union = {key: IndexSet.union_of(sets) for key, sets in sure.items()}
    decided: list[Claim] = []
    for claim in claims:
        ranges = claim.shard.ranges
        if claim.doubtful:
            for power in (True, False):
                moving = ranges & union.get((claim.shard.fleet, power), EMPTY)
                shard = msgspec.structs.replace(claim.shard, staged=True, power=power)
                decided += _part(replace(claim, shard=shard), moving)
                ranges = ranges - moving
        decided += _part(claim, ranges)
    return decided


def _claims_of_a_shard(host: str, shard: Shard, has: HostInventory | None) -> Iterator[Claim]:
    running = shard.ranges & has.having(shard.kin, *_UP) if has else EMPTY
    for part, runs in ((running, True), (shard.ranges - running, False)):
        if part:
            rank = (has is not None, True, runs, True, shard.birth)
            yield Claim(host, msgspec.structs.replace(shard, ranges=part), rank)


def settled(
    claims: Sequence[Claim],
) -> tuple[list[Claim], list[Claim], Mapping[str, IndexSet]]:
    """What each keeps, and what each loses to a claim that is proven; and by fleet what two had.
    What is lost to one that is not proven is in neither: it is left where it is, as an orphan."""
    by_fleet: dict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        by_fleet[claim.shard.fleet].append(claim)
    kept: list[Claim] = []
    lost: list[Claim] = []
    twice = {}
    for fleet, mine in by_fleet.items():
        mine.sort(key=lambda claim: claim.host)
        mine.sort(key=lambda claim: claim.rank, reverse=True)
        sets = [claim.shard.ranges for claim in mine]
        losing = had_by_an_earlier_one(sets)
        removed = had_by_an_earlier_one(sets, [claim.proven for claim in mine])
        twice[fleet] = IndexSet.union_of(losing)
        for claim, loses, goes in zip(mine, losing, removed, strict=True):
            kept += _part(claim, claim.shard.ranges - loses)
            lost += _part(claim, goes)
    return kept, lost, twice


def _part(claim: Claim, indices: IndexSet) -> list[Claim]:
    if not indices:
        return []
    return [replace(claim, shard=msgspec.structs.replace(claim.shard, ranges=indices))]
