"""Rollouts: VMs of other generations become VMs of the new one, where they are, a few at a time.

Such a VM gets the new generation and a new birth: its host removes it and clones it afresh. How
far a rollout is follows from the assignments and from what runs, anew in each pass; its record
says only what was asked for, and whether it goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import structs

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import (
    Assignment,
    ClusterView,
    FleetRecord,
    ObservedFleet,
    RolloutRecord,
    RolloutState,
    Shard,
)
from fleet_controller.core.placement.drafts import Drafts
from fleet_controller.core.rollouts_and_drains.disruption import DisruptionBudget

Shards = Sequence[tuple[str, Shard]]  # with the host that has it
NOTHING_OBSERVED = ObservedFleet(EMPTY, EMPTY)


class RolloutProgress(msgspec.Struct, frozen=True):
    """Where a rollout is, in words: its wave, such as rack=r3, and what it waits for. `held_up`:
    nothing goes on before VMs that have failed run."""

    wave: str = ""
    message: str = ""
    held_up: bool = False


class Rolled(msgspec.Struct, frozen=True):
    """`assignments`: all that differ from the store, also those decided before, by host id.
    `rollouts`: those that ended or halted. `fleets`: records that change because of that, by uid.
    `progress`: of the rollouts that go on, by the fleet's uid."""

    assignments: Mapping[str, Assignment]
    rollouts: tuple[RolloutRecord, ...] = ()
    fleets: Mapping[str, FleetRecord] = {}
    progress: Mapping[str, RolloutProgress] = {}


class _Position(msgspec.Struct, frozen=True):
    """How far one rollout is. `older`: shards to be changed. `changed`: VMs of the new generation
    that were made since it began and are to run; of these, `unsettled`: neither running nor failed
    yet."""

    older: Shards
    changed: IndexSet
    unsettled: IndexSet
    failed: IndexSet
    waves: frozenset[str]  # that are not over
    moving: IndexSet  # staged elsewhere: changed once they have moved


def roll(
    view: ClusterView,
    decided: Mapping[str, Assignment],
    budget: DisruptionBudget | None = None,
) -> Rolled:
    """The next step of every rollout that is under way. `budget`: None: each is bounded by its own
    options alone."""
    under_way = {
        fleet.uid: fleet
        for fleet in view.fleets.values()
        if not fleet.deleting
        and (record := view.rollouts.get(fleet.uid))
        and record.state is RolloutState.RUNNING
    }
    if not under_way:
        return Rolled(decided)
    drafts = Drafts(view, decided)
    ended: list[RolloutRecord] = []
    fleets: dict[str, FleetRecord] = {}
    progress: dict[str, RolloutProgress] = {}
    for uid, fleet in under_way.items():
        record = view.rollouts[uid]
        position = _position(view, drafts, fleet, record)
        if halted := _halted(record, position):
            ended.append(halted)
            fleets[uid] = structs.replace(fleet, generation=record.from_generation)
        elif not (position.older or position.moving or position.unsettled or position.failed):
            ended.append(structs.replace(record, state=RolloutState.DONE))
        else:
            progress[uid] = _advance(view, drafts, fleet, record, position, budget)
    return Rolled(drafts.assignments(), tuple(ended), fleets, progress)


def most_unavailable(record: RolloutRecord, total: int) -> int:
    """How many VMs may be down at once for the rollout; at least one, or it would never end."""
    return record.max_unavailable or max(1, int(record.max_unavailable_share * total))


def described(record: RolloutRecord) -> str:
    """Where it stands, in words for whoever reads what was changed."""
    why = f": {record.why}" if record.why else ""
    return f"{record.state}, generation {record.from_generation} to {record.to_generation}{why}"


def _position(
    view: ClusterView, drafts: Drafts, fleet: FleetRecord, record: RolloutRecord
) -> _Position:
    current = (record.to_generation, fleet.generation)
    shards = [(host, shard) for host, shard in drafts.shards() if shard.fleet == fleet.uid]
    moving = IndexSet.union_of(
        s.ranges for _, s in shards if s.staged and s.generation not in current
    )
    older = [(h, s) for h, s in shards if not s.staged and s.generation not in current]
    new = [(h, s) for h, s in shards if _changed(s, record)]
    changed = IndexSet.union_of(shard.ranges for _, shard in new)
    fresh = _fresh(view, record, new)
    observed = view.observed.get(fleet.uid, NOTHING_OBSERVED)
    failed = (changed & observed.failed) - fresh
    unsettled = (changed - observed.running - failed) | fresh
    waves = {_label(view, h, record) for h, _ in older if view.hosts[h].reachable} | {
        _label(view, h, record) for h, s in new if s.ranges & unsettled
    }
    return _Position(older, changed, unsettled, failed, frozenset(waves), moving)


def _fresh(view: ClusterView, record: RolloutRecord, new: Shards) -> IndexSet:
    """The changed VMs that this pass places anew. Reports about them are of their earlier life
    on another host."""
    known: dict[tuple[str, int], IndexSet] = {}
    for host, one in view.hosts.items():
        for shard in one.assignment.shards:
            if shard.fleet == record.fleet and _changed(shard, record):
                key = (host, shard.birth)
                known[key] = known.get(key, EMPTY) | shard.ranges
    return IndexSet.union_of(s.ranges - known.get((host, s.birth), EMPTY) for host, s in new)


def _changed(shard: Shard, record: RolloutRecord) -> bool:
    return (
        shard.generation == record.to_generation
        and shard.birth >= record.since_revision
        and shard.power
        and not shard.staged
    )


def _label(view: ClusterView, host: str, record: RolloutRecord) -> str:
    return view.hosts[host].record.labels.get(record.by_label, "") if record.by_label else ""


def _halted(record: RolloutRecord, position: _Position) -> RolloutRecord | None:
    failed, changed = len(position.failed), len(position.changed)
    if failed <= record.halt_share * changed:
        return None
    why = (
        f"{failed:,} of {changed:,} changed VMs failed, which is more than "
        f"{record.halt_share:.0%} of them"
    )
    return structs.replace(record, state=RolloutState.HALTED, why=why)


def _advance(
    view: ClusterView,
    drafts: Drafts,
    fleet: FleetRecord,
    record: RolloutRecord,
    position: _Position,
    budget: DisruptionBudget | None,
) -> RolloutProgress:
    """Change as many further VMs as may be down at once."""
    most = most_unavailable(record, fleet.total)
    free = most - len(position.unsettled) - len(position.failed)
    # Hosts without the label come last.
    wave = min(position.waves, key=lambda value: (not value, value), default="")
    silent = tight = 0
    lacking: dict[str, int] = {}
    for host, shard in position.older:
        here = view.hosts[host]
        if not here.reachable or here.record.lost:
            silent += len(shard.ranges)
            continue
        if record.by_label and _label(view, host, record) != wave:
            continue
        ready = shard.ranges - position.moving
        kind = _renewed(shard, record.to_generation, view.revision)
        if lacked := drafts.lacked(host, kind):
            lacking[lacked] = lacking.get(lacked, 0) + len(ready)
            continue
        fitting = drafts.fitting(host, shard, kind)
        tight += max(0, len(ready) - fitting)
        part = ready.lowest(min(max(0, free), fitting))
        if budget is not None:
            part = budget.take(fleet.uid, part)
        if part:
            drafts.put(host, shard, part, kind)
            free -= len(part)
    named = f"{record.by_label}={wave}" if record.by_label else ""
    waits = _waits(position, silent, tight, lacking)
    return RolloutProgress(named, waits, _is_held_up(position, most))


def _is_held_up(position: _Position, most: int) -> bool:
    """Whether nothing goes on before VMs that have failed run."""
    failed = len(position.failed)
    return bool(failed) and not position.unsettled and (most <= failed or not position.older)


def _renewed(shard: Shard, generation: int, revision: int) -> Shard:
    return structs.replace(shard, generation=generation, birth=revision, restart=0, retry=0)


def _waits(position: _Position, silent: int, tight: int, lacking: Mapping[str, int]) -> str:
    """What is in the way, in one sentence; empty when nothing is."""
    if position.failed:
        return (
            f"{len(position.failed):,} changed VMs have failed; their hosts try again, and they "
            "count as unavailable meanwhile"
        )
    if silent:
        return f"{silent:,} VMs wait for hosts that cannot be reached"
    if lacking:
        what, count = max(lacking.items(), key=lambda item: (item[1], item[0]))
        return f"{count:,} VMs wait: their hosts lack {what}"
    if tight:
        return (
            f"{tight:,} VMs of this generation do not fit on their hosts: each takes more there; "
            "drain those hosts, or add some"
        )
    return ""
