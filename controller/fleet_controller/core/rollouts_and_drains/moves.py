"""Moves: what draining hosts hold, and what rebalances take from hosts, goes to other hosts, and
never runs on two at once.

A move is four facts in the assignments, each written only after the one before was seen true:

1. another host has the index as a staged shard: it clones and defines, and starts nothing;
2. that host has reported it prepared: the old holder's shard becomes a tombstone;
3. the tombstone is acknowledged: the staged shard becomes an ordinary one, and starts;
4. the old holder has nothing of it any more.

Nothing else is remembered, so whoever leads next goes on from there. A fact counts only when it
is in the store and in what is being decided now: the writes of one pass go out in several
transactions, in any order, and each by itself must be true.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from msgspec import structs

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import Assignment, ClusterView, HostRecord, HostView, Shard
from fleet_controller.core.placement.drafts import Drafts
from fleet_controller.core.rollouts_and_drains.disruption import DisruptionBudget
from fleet_controller.core.rollouts_and_drains.rebalancing import RebalanceProgress, rebalance

Staged = list[tuple[str, Shard]]  # with the host that has it


@dataclass(frozen=True, slots=True)
class Stuck:
    """VMs of one draining host that fit on no other; `why` is that of one of their fleets."""

    count: int
    why: str


@dataclass(frozen=True, slots=True)
class Moves:
    """`assignments`: all that differ from the store, also those that the placement changed, by
    host id. `unplaced`: VMs that fit on no other host, by the draining host's id; only of VMs that
    were tried in this pass. `rebalances`: how far those that are asked for are, by fleet uid."""

    assignments: Mapping[str, Assignment]
    unplaced: Mapping[str, Stuck] = field(default_factory=dict)
    rebalances: Mapping[str, RebalanceProgress] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Holders:
    """The indices of one fleet that are being moved, by who has them besides the taker."""

    assigned: IndexSet  # ordinary shards
    staying: IndexSet  # of these, shards of hosts that are to keep them
    releasing: IndexSet  # tombstones that nobody has acknowledged


def move(
    view: ClusterView,
    decided: Mapping[str, Assignment],
    most: int,
    budget: DisruptionBudget | None = None,
) -> Moves:
    """The next step of every move. `decided`: assignments by a placement of the same view. `most`:
    how many VMs may be staged at once. `budget`: None: nothing bounds how many go down at once."""
    if not view.rebalances and not any(_concerned(host) for host in view.hosts.values()):
        return Moves(decided)
    drafts = Drafts(view, decided)
    staged: dict[str, Staged] = defaultdict(list)
    for host, shard in drafts.shards():
        if shard.staged:
            staged[shard.fleet].append((host, shard))
    in_flight = 0
    for uid, shards in staged.items():
        moving = IndexSet.union_of(shard.ranges for _, shard in shards)
        holders = _holders(view, drafts, uid, moving)
        in_flight += _advance(view, drafts, shards, holders, budget)
    unplaced, left = _begin(view, drafts, staged, max(0, most - in_flight))
    rebalances = rebalance(view, drafts, left) if view.rebalances else {}
    return Moves(drafts.assignments(), unplaced, rebalances)


def unfit(record: HostRecord) -> bool:
    """Whether what is only staged on the host had better be staged elsewhere."""
    return record.draining or record.cordoned or record.lost or bool(record.quarantine)


def lets_go(host: HostView) -> bool:
    """Whether what the host holds is to be moved, and it can be asked to."""
    return host.record.draining and host.reachable and not host.record.lost


def _is_left(view: ClusterView, host: HostView, uid: str) -> bool:
    """Whether the host lets go of the fleet's VMs that others have prepared."""
    rebalanced = uid in view.rebalances and host.reachable and not host.record.lost
    return rebalanced or lets_go(host)


def _concerned(host: HostView) -> bool:
    return host.record.draining or any(shard.staged for shard in host.assignment.shards)


def _holders(view: ClusterView, drafts: Drafts, uid: str, moving: IndexSet) -> _Holders:
    stored = [(name, s) for name, host in view.hosts.items() for s in host.assignment.shards]
    holding = [
        (name, shard.ranges & moving)
        for name, shard in (*stored, *drafts.shards())
        if shard.fleet == uid and not shard.staged
    ]
    left = uid in view.rebalances
    staying = (r for name, r in holding if not (left or view.hosts[name].record.draining))
    return _Holders(
        IndexSet.union_of(ranges for _, ranges in holding),
        IndexSet.union_of(staying),
        _releasing(view, drafts, uid) & moving,
    )


def _releasing(view: ClusterView, drafts: Drafts, uid: str) -> IndexSet:
    """What hosts have still to release. A lost host has nothing."""
    stored = [(name, t) for name, host in view.hosts.items() for t in host.pending_tombstones]
    return IndexSet.union_of(
        tombstone.ranges
        for name, tombstone in (*stored, *drafts.tombstones())
        if tombstone.fleet == uid and not view.hosts[name].record.lost
    )


def _advance(
    view: ClusterView,
    drafts: Drafts,
    staged: Staged,
    holders: _Holders,
    budget: DisruptionBudget | None,
) -> int:
    """Start, await or give up what is staged. Returns how many VMs are still staged in the
    store, those given up included: writes that begin now may come first."""
    held = holders.assigned | holders.releasing
    prepared: list[IndexSet] = []
    left = 0
    for host, shard in staged:
        if start := shard.ranges - held:
            drafts.put(host, shard, start, structs.replace(shard, staged=False))
            shard = structs.replace(shard, ranges=shard.ranges & held)
        twice = shard.ranges & holders.assigned
        back = twice if unfit(view.hosts[host].record) else twice & holders.staying
        if back:
            drafts.release(host, shard, back)
        prepared.append(_prepared(view.hosts[host], shard) & (twice - back))
        left += len(shard.ranges)
    ready = IndexSet.union_of(prepared) - holders.releasing
    _hand_over(view, drafts, staged[0][1].fleet, ready, budget)
    return left


def _prepared(host: HostView, shard: Shard) -> IndexSet:
    """What of a staged shard is cloned and defined, on a host that can start it."""
    if not host.reachable:
        return EMPTY
    ready = (r for uid, birth, r in host.prepared if (uid, birth) == (shard.fleet, shard.birth))
    return IndexSet.union_of(ready) & shard.ranges


def _hand_over(
    view: ClusterView,
    drafts: Drafts,
    uid: str,
    prepared: IndexSet,
    budget: DisruptionBudget | None,
) -> None:
    """Have the hosts that still have these VMs release them, as many as may be down: from here
    until they run on the taker they are."""
    if not prepared:
        return
    for host, shard in drafts.shards():
        if shard.fleet != uid or shard.staged or not _is_left(view, view.hosts[host], uid):
            continue
        ranges = shard.ranges & prepared
        if budget is not None:
            beyond = view.hosts[host].record.drain_ignores_budget
            ranges = budget.take(uid, ranges, beyond=beyond)
        if ranges:
            drafts.release(host, shard, ranges)


def _begin(
    view: ClusterView, drafts: Drafts, staged: Mapping[str, Staged], most: int
) -> tuple[dict[str, Stuck], int]:
    """Stage further VMs of draining hosts. The VMs that found no room, by draining host, and how
    many more may be staged."""
    unplaced: dict[str, Stuck] = {}
    for kind, shares in _leaving(view, drafts, staged).items():
        waiting = IndexSet.union_of(ranges for _, ranges in shares)
        tried = waiting.lowest(most)
        rest = drafts.add(structs.replace(kind, ranges=tried)) if tried else EMPTY
        most -= len(tried) - len(rest)
        if rest:  # then there is no room for those that were not tried either
            why = drafts.why_not(kind, waiting - (tried - rest))
            for host, ranges in shares:
                if left := len(ranges - (tried - rest)):
                    before = unplaced.get(host, Stuck(0, why))
                    unplaced[host] = Stuck(before.count + left, before.why)
    return unplaced, most


def _leaving(
    view: ClusterView, drafts: Drafts, staged: Mapping[str, Staged]
) -> dict[Shard, list[tuple[str, IndexSet]]]:
    """By shard to be staged: the draining hosts, and the indices there that no other host
    prepares yet. The key's own ranges are empty."""
    busy: dict[str, IndexSet] = {}
    leaving: dict[Shard, list[tuple[str, IndexSet]]] = defaultdict(list)
    for host, shard in drafts.shards():
        if shard.staged or not lets_go(view.hosts[host]):
            continue
        if shard.fleet not in busy:
            moving = (one.ranges for _, one in staged.get(shard.fleet, ()))
            releasing = _releasing(view, drafts, shard.fleet)
            busy[shard.fleet] = IndexSet.union_of(moving) | releasing
        if ranges := shard.ranges - busy[shard.fleet]:
            kind = structs.replace(shard, ranges=EMPTY, birth=view.revision, staged=True)
            leaving[kind].append((host, ranges))
    return leaving


def moving_from(shards: Iterable[Shard], staged: Mapping[str, IndexSet]) -> int:
    """How many of a host's VMs are staged elsewhere. `staged`: by fleet."""
    return sum(
        len(shard.ranges & staged.get(shard.fleet, EMPTY)) for shard in shards if not shard.staged
    )
