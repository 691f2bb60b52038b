"""Going on after the store came back older than its hosts, or as another: what would be written.

Pure: a view of the store and of what hosts report in, a plan out. Either the store's assignments
hold as they are, or those of hosts that are ahead of it are made anew of what they have:

- A host that is ahead, or of which the store knows nothing, is assigned what it has, orphans too,
  with the births it has. What it was removing goes on being removed, by a tombstone.
- Any other host keeps what the store says: it has never heard anything newer.
- An index that two have stays with one: a host that was heard before one that was not, what is
  proven before what is not, what runs before what does not, what its host was told to have before
  an orphan, the later birth, and then the host's name. The others get a tombstone for it where
  the claim of the one is proven, and keep it as an orphan where it is not.
- A host that claims more than the store knows, and is not believed, keeps what the store says.
- What is only staged goes on being staged, beside whoever has the index: it starts once nobody has
  it, as ever. So does what is defined, and does not run, on a host of which the store knows no
  better, where another has the index: it is on its way there rather than off.
- What the store says is off stays off, unless it runs.
- Rollouts are paused, and a lost host that was heard and is ahead is lost no more.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import (
    NOTHING,
    Assignment,
    HostRecord,
    Meta,
    RolloutRecord,
    RolloutState,
    Shard,
    Tombstone,
)
from fleet_controller.core.recovery.claims import (
    Claim,
    claims_of,
    on_their_way,
    settled,
)
from fleet_controller.core.recovery.findings import FleetFinding, findings
from fleet_controller.core.recovery.heard import heard_of
from fleet_controller.core.recovery.inventory import HostInventory
from fleet_controller.core.recovery.recovered_fleets import RecoveredFleets, recovered_fleets
from fleet_controller.core.recovery.view import RecoveryChoice, RecoveryView
from fleet_controller.core.shards import merged
from fleet_controller.core.vm_states import STOPPING

# Births and tombstones begin so far above all that was heard of: hosts that were not heard may
# have been given later ones before the store was set back.
MARGIN = 1 << 32
# Seconds from a leadership's beginning until what hosts have may be adopted. Orders of former
# leaders reach hosts no later: a lease ends within 6 s, and a connection on which nothing is heard
# within 80 s (`fleet.transport`).
RECOVER_AFTER_SECONDS = 90.0
_PAUSED = "paused by a recovery: what the store says of it may be old"


@dataclass(frozen=True, slots=True)
class RecoveryPlan:
    """`assignments`: those that change, by host id. `unseen`: hosts that were not heard and are not
    said to be gone. `unconfirmed`: fleets whose total is to be confirmed. `too_early`: seconds to
    wait, as an order of a former leader may still reach a host that is cut off now."""

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
    too_early: float

    @property
    def complete(self) -> bool:
        return not self.unseen and not self.unconfirmed and self.too_early <= 0


def plan_recovery(view: RecoveryView, wish: RecoveryChoice) -> RecoveryPlan:
    """What would be written so that changes are allowed again."""
    known = recovered_fleets(view.fleets, view.specs, view.inventory, view.gone, wish.adopt)
    found = claims_of(view, known, wish.adopt)
    claims = on_their_way([one for one in found if one.shard.fleet in known.by_uid])
    kept, lost, twice = settled([one for one in claims if not one.shard.staged])
    staged, spare, _ = settled([one for one in claims if one.shard.staged])
    meta = _meta(view, known)
    stamp = view.revision + meta.raised
    assignments = _assignments(view, wish, known, kept + staged, lost + spare, stamp)
    fleets = tuple(findings(view, wish, known, kept, staged, twice))
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
            if wish.adopt and record.lost and host in heard and view.is_rebuilt(host)
        ),
        paused=tuple(
            msgspec.structs.replace(one, state=RolloutState.PAUSED, why=_PAUSED)
            for _, one in sorted(view.rollouts.items())
            if wish.adopt and one.works
        ),
        meta=meta,
        unseen=tuple(
            host
            for host, record in sorted(view.hosts.items())
            if wish.adopt and host not in heard and host not in wish.absent and not record.lost
        ),
        unconfirmed=tuple(f.record.name for f in fleets if not f.confirmed and not f.problem),
        token=_token(assignments, wish),
        too_early=view.too_early if wish.adopt else 0.0,
    )


def _assignments(
    view: RecoveryView,
    wish: RecoveryChoice,
    known: RecoveredFleets,
    kept: Iterable[Claim],
    lost: Iterable[Claim],
    stamp: int,
) -> dict[str, Assignment]:
    """The assignments that are not as they should be."""
    if not wish.adopt:
        return {}
    shards: dict[str, list[Shard]] = defaultdict(list)
    removed: dict[str, list[Shard]] = defaultdict(list)
    for claim in kept:
        shards[claim.host].append(claim.shard)
    for claim in lost:
        removed[claim.host].append(claim.shard)
    changed = {}
    for host in sorted(view.hosts):
        have = view.assignments.get(host, NOTHING)
        has = view.inventory.hosts.get(host)
        old = have.tombstones
        if has is not None and view.is_rebuilt(host):
            # It was told of other ones since; what was stopped on it may be placed nowhere yet.
            old = tuple(stone for stone in old if stone.off)
            removed[host] += _being_removed(has, known)
        made = Assignment(merged(shards[host]), old + _tombstones(removed[host], stamp))
        if made != have:
            changed[host] = made
    return changed


def _being_removed(has: HostInventory, known: RecoveredFleets) -> list[Shard]:
    """What the host removes by an order that the store has forgotten. Only of known fleets: the
    order needs the fleet's name."""
    return [
        Shard(kin.fleet_uid, gone, kin.generation, kin.birth)
        for kin in has.states
        if kin.fleet_uid in known.by_uid and (gone := has.having(kin, STOPPING))
    ]


def _tombstones(removed: Iterable[Shard], stamp: int) -> tuple[Tombstone, ...]:
    return tuple(
        Tombstone((stamp << 16) + number, one.fleet, one.ranges, one.birth, staged=one.staged)
        for number, one in enumerate(removed, start=1)
    )


def _meta(view: RecoveryView, known: RecoveredFleets) -> Meta:
    """The store's own record afterwards: a generation above all that were heard of, so that every
    host takes the leader's word again, and births above all that were given."""
    heard = heard_of(view.inventory)
    generation = max(view.meta.generation, heard.generation)
    revision = max(view.revision + view.meta.raised, heard.revision)
    numbers = [fleet.number for fleet in known.by_uid.values()]
    return msgspec.structs.replace(
        view.meta,
        generation=generation + 1,
        cluster=view.cluster,
        raised=revision + MARGIN - view.revision,
        last_number=max([view.meta.last_number, *numbers]),
    )


def _token(assignments: Mapping[str, Assignment], wish: RecoveryChoice) -> str:
    """A digest of what the plan does, the ids of its tombstones aside: equal for equal effects."""
    effect = [
        (host, [(str(shard), str(shard.ranges)) for shard in one.shards],
         [(stone.fleet, str(stone.ranges), stone.born_until) for stone in one.tombstones])
        for host, one in sorted(assignments.items())
    ]  # fmt: skip
    text = repr((wish.adopt, effect))
    return hashlib.blake2b(text.encode(), digest_size=9).hexdigest()
