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
from fleet_controller.core.rollouts_and_drains.canaries import (
    Canaries,
    canaries_of,
    canaries_wait,
    forgotten,
    promoted,
    undone,
)
from fleet_controller.core.rollouts_and_drains.disruption import DisruptionBudget

Shards = Sequence[tuple[str, Shard]]  # with the host that has it
NOTHING_OBSERVED = ObservedFleet(EMPTY, EMPTY)


class RolloutProgress(msgspec.Struct, frozen=True):
    """Where a rollout is, in words: its wave, such as rack=r3, and what it waits for. `record`: the
    rollout as it was then; of another one it says nothing. `held_up`: nothing goes on before VMs
    that have failed run. `canaries`: while it needs its promotion."""

    record: RolloutRecord
    wave: str = ""
    message: str = ""
    held_up: bool = False
    canaries: Canaries | None = None


class Rolled(msgspec.Struct, frozen=True):
    """`assignments`: all that differ from the store, also those decided before, by host id.
    `rollouts`: records that change: of those that ended or halted, were promoted or undone, or
    were forgotten. `fleets`: records that change because of that, by uid. `progress`: of the
    rollouts that go on, by the fleet's uid."""

    assignments: Mapping[str, Assignment]
    rollouts: tuple[RolloutRecord, ...] = ()
    fleets: Mapping[str, FleetRecord] = {}
    progress: Mapping[str, RolloutProgress] = {}


class _Position(msgspec.Struct, frozen=True):
    """How far one rollout is. `older`: shards to be changed. `changed`: VMs of the new generation
    that were made since it began and are to run; of these, `unsettled`: neither running nor failed
    yet. `canaries`: while it needs its promotion."""

    older: Shards
    changed: IndexSet
    unsettled: IndexSet
    failed: IndexSet
    waves: frozenset[str]  # that are not over
    moving: IndexSet  # staged elsewhere: changed once they have moved
    canaries: Canaries | None = None

    @property
    def is_over(self) -> bool:
        rest = self.older or self.moving or self.unsettled or self.failed
        return not rest and self.canaries is None


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
        if not fleet.deleting and (record := view.rollouts.get(fleet.uid)) and record.works
    }
    if not under_way:
        return Rolled(decided)
    drafts = Drafts(view, decided)
    changed: list[RolloutRecord] = []
    fleets: dict[str, FleetRecord] = {}
    progress: dict[str, RolloutProgress] = {}
    for uid, fleet in under_way.items():
        record = view.rollouts[uid]
        position = _position(view, drafts, fleet, record)
        if turned := _turned(view, record, position):
            changed.append(turned)
            further = structs.replace(fleet, generation=further_generation(turned, fleet))
            if further != fleet:
                fleets[uid] = further
        else:
            progress[uid] = _advance(view, drafts, fleet, record, position, budget)
            if position.canaries and (told := forgotten(record, view.now)):
                changed.append(told)
    return Rolled(drafts.assignments(), tuple(changed), fleets, progress)


def further_generation(record: RolloutRecord, fleet: FleetRecord) -> int:
    """What further VMs are made of: once a rollout is promoted, of its target; before, and once it
    is given up, of what was there before it. One that is held, paused or over says nothing."""
    match record.state:
        case RolloutState.RUNNING:
            return record.to_generation
        case RolloutState.CANARY | RolloutState.HALTED | RolloutState.ABORTED:
            return record.from_generation
        case _:
            return fleet.generation


def most_unavailable(record: RolloutRecord, total: int) -> int:
    """How many VMs may be down at once for the rollout; at least one, or it would never end."""
    return record.max_unavailable or max(1, int(record.max_unavailable_share * total))


def described(record: RolloutRecord) -> str:
    """Where it stands, in words for whoever reads what was changed."""
    why = f": {record.why}" if record.why else ""
    return f"{record.state}, generation {record.from_generation} to {record.to_generation}{why}"


def happened(before: RolloutRecord | None, after: RolloutRecord) -> tuple[str, str]:
    """What a rollout has done by itself: the kind of its event, and the end of a sentence."""
    why = f": {after.why}" if after.why else ""
    if before is None or before.state is after.state:
        if after.forgotten and not (before and before.forgotten):
            return "rollout_forgotten", "waits for its promotion, and seems to be forgotten"
    if after.state is RolloutState.RUNNING:
        if before and before.to_generation == after.to_generation:
            return "rollout_promoted", "is promoted by itself: its canaries are well"
        return "rollout_undone", f"is {after.why}"
    return f"rollout_{after.state}", f"is {after.state}{why}"


def _position(
    view: ClusterView, drafts: Drafts, fleet: FleetRecord, record: RolloutRecord
) -> _Position:
    # What was applied since is newer than what is rolled out.
    current = {record.to_generation, fleet.generation}
    if record.state is RolloutState.CANARY:  # further VMs are still made as those before
        current.discard(record.from_generation)
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
    canaries = None
    if record.needs_promotion:
        of_target = [s for _, s in shards if s.generation == record.to_generation]
        made = IndexSet.union_of(shard.ranges for shard in of_target)
        on = IndexSet.union_of(s.ranges for s in of_target if s.power and not s.staged)
        settled = not unsettled
        canaries = canaries_of(record, fleet, made, on & observed.steady - fresh, settled, view.now)
    return _Position(older, changed, unsettled, failed, frozenset(waves), moving, canaries)


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


def _turned(view: ClusterView, record: RolloutRecord, position: _Position) -> RolloutRecord | None:
    """The rollout in another state, which it takes by itself; None: it goes on as it is."""
    if why := _why_halted(record, position):
        if record.undo_on_halt:
            return undone(record, f"undone by itself: {why}", view.revision, view.now)
        return structs.replace(record, state=RolloutState.HALTED, why=why)
    if position.is_over:
        return structs.replace(record, state=RolloutState.DONE)
    return promoted(record, position.canaries) if position.canaries else None


def _why_halted(record: RolloutRecord, position: _Position) -> str:
    """Empty while no more have failed than may."""
    failed, changed = len(position.failed), len(position.changed)
    if failed <= record.halt_share * changed:
        return ""
    return (
        f"{failed:,} of {changed:,} changed VMs failed, which is more than "
        f"{record.halt_share:.0%} of them"
    )


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
    canaries, each = position.canaries, free
    if canaries:
        free = min(free, canaries.to_make)
        each = -(-free // max(1, len(position.older)))  # on many hosts, to learn of them all
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
        if canaries and not shard.power:
            continue  # nobody would learn anything from it
        ready = shard.ranges - position.moving
        kind = _renewed(shard, record.to_generation, view.revision)
        if lacked := drafts.lacked(host, kind):
            lacking[lacked] = lacking.get(lacked, 0) + len(ready)
            continue
        fitting = drafts.fitting(host, shard, kind)
        tight += max(0, len(ready) - fitting)
        here_most = min(max(0, free), max(0, each), fitting)
        part = budget.take(fleet.uid, ready, most=here_most) if budget else ready.lowest(here_most)
        if part:
            drafts.put(host, shard, part, kind)
            free -= len(part)
    named = f"{record.by_label}={wave}" if record.by_label else ""
    waits = _waits(position, silent, tight, lacking)
    if canaries:
        told = canaries_wait(record, canaries, fleet.name, view.now)
        concerns = canaries.to_make or position.failed
        waits = "; ".join(filter(None, (told, waits if concerns else "")))
    return RolloutProgress(record, named, waits, _is_held_up(position, most), canaries)


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
