"""The difference between what is wanted and what exists, as steps with reasons.

Rules, in order of weight:
- only what carries our mark is ever removed, and only on an explicit word: a tombstone names
  its index and birth, or has done so before it was acknowledged, or a shard of this host wants
  the same index with a newer birth;
- what is neither wanted nor named by a tombstone is an orphan: reported, left as it is;
- an index that is wanted waits until whatever else lives under its name is gone;
- a VM that is to be restarted is stopped only when few enough of its fleet are down here;
- what is wanted with a template that cannot be carried out is left as it is;
- what somebody has suspended on the host is left as it is; what the hypervisor has halted after an
  error is started again, which lets it go on where it can;
- a VM in `resting` (its last step failed and its time to try again has not come) gets no step.

All of it is interval arithmetic: the cost follows the number of ranges, not of VMs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.assignment import Assignment, Tombstone, WantedShard
from fleet_agent.core.model import Phase, StepKind
from fleet_agent.core.plan.isolation import StartPermit
from fleet_agent.core.plan.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Step:
    """One kind of act on VMs of one kin, and why."""

    kind: StepKind
    kin: Kin
    indices: IndexSet
    reason: str


UNRESTRICTED = StartPermit()


@dataclass(frozen=True, slots=True)
class Refused:
    """VMs that are not brought up, and why."""

    indices: IndexSet
    why: str


@dataclass(slots=True)
class Plan:
    """Steps, removals first; and what follows from the snapshot without any step."""

    steps: list[Step] = field(default_factory=list)
    removing: dict[Kin, IndexSet] = field(default_factory=dict)
    orphans: dict[Kin, IndexSet] = field(default_factory=dict)
    # Wanted, but something that must not be touched lives under the name.
    conflicts: dict[Kin, IndexSet] = field(default_factory=dict)
    # Wanted, but of a template that cannot be carried out.
    bad_specs: dict[Kin, Refused] = field(default_factory=dict)
    # Wanted on, and suspended by somebody on the host.
    suspended: dict[Kin, IndexSet] = field(default_factory=dict)
    # Not as wanted, whether or not there is a step for it.
    unmet: dict[Kin, IndexSet] = field(default_factory=dict)
    # Would be brought up, were it not for the start permit.
    held: bool = False
    released: list[int] = field(default_factory=list)  # tombstones that are done

    def add(self, kind: StepKind, kin: Kin, indices: IndexSet, reason: str) -> None:
        if indices:
            self.steps.append(Step(kind, kin, indices, reason))

    def miss(self, kin: Kin, indices: IndexSet) -> None:
        if indices:
            self.unmet[kin] = self.unmet.get(kin, EMPTY) | indices


def plan(
    assignment: Assignment,
    snapshot: Snapshot,
    resting: Mapping[Kin, IndexSet],
    *,
    permit: StartPermit = UNRESTRICTED,
) -> Plan:
    """What to do next. `resting`: VMs whose last step failed and whose time has not come. Of what
    the permit holds nothing is brought up, but what is active is adopted; what it isolates is
    stopped."""
    made = Plan()
    wanted, on = _wanted(assignment.shards)
    on |= dict.fromkeys(permit.isolated & on.keys(), EMPTY)
    for kin in sorted(snapshot.exists):
        _plan_leftover(made, kin, wanted, assignment, snapshot, resting.get(kin, EMPTY))
    for kin, indices in wanted.items():
        reason = "no controller was heard" if kin in permit.isolated else "wanted off"
        _plan_stop(made, kin, indices - on[kin], snapshot, resting.get(kin, EMPTY), reason)
    if any(shard.restart for shard in assignment.shards):
        _plan_restarts(made, assignment, snapshot, resting, permit)
    for kin, indices in wanted.items():
        free = _plan_blocked(made, kin, indices, assignment, snapshot)
        _plan_bring_up(
            made, kin, free, on[kin], assignment, snapshot, resting.get(kin, EMPTY),
            kin not in permit.held,
        )  # fmt: skip
    if permit.adopts_only:
        made.held = True
        made.steps = [step for step in made.steps if _adopts(step, permit)]
    made.released = [
        tombstone.id for tombstone in assignment.tombstones if _is_done(tombstone, wanted, snapshot)
    ]
    return made


def _adopts(step: Step, permit: StartPermit) -> bool:
    """Whether it is done whatever became of the assignment meanwhile."""
    stops = step.kind is StepKind.STOP and step.kin in permit.isolated
    return stops or step.kind is StepKind.AWAIT_READY


def _wanted(shards: Iterable[WantedShard]) -> tuple[dict[Kin, IndexSet], dict[Kin, IndexSet]]:
    """By kin: all that is wanted, and which of it is to run."""
    wanted: dict[Kin, IndexSet] = {}
    on: dict[Kin, IndexSet] = {}
    for shard in shards:
        wanted[shard.kin] = wanted.get(shard.kin, EMPTY) | shard.indices
        runs = shard.indices if shard.power_on else EMPTY
        on[shard.kin] = on.get(shard.kin, EMPTY) | runs
    return wanted, on


def _plan_leftover(
    made: Plan,
    kin: Kin,
    wanted: Mapping[Kin, IndexSet],
    assignment: Assignment,
    snapshot: Snapshot,
    resting: IndexSet,
) -> None:
    """Remove what a tombstone or a newer birth names; call the rest orphans."""
    leftover = snapshot.exists[kin] - wanted.get(kin, EMPTY)
    if not leftover:
        return
    rest = leftover
    for other, indices in wanted.items():
        if other.fleet_uid == kin.fleet_uid and other.birth > kin.birth and rest & indices:
            reason = f"replaced by birth {other.birth}"
            _plan_removal(made, kin, rest & indices, snapshot, resting, reason)
            rest = rest - indices
    for tombstone in (*assignment.tombstones, *assignment.past):
        hit = rest & _released(tombstone, kin, wanted)
        if hit:
            _plan_removal(made, kin, hit, snapshot, resting, f"tombstone {tombstone.id}")
            rest = rest - hit
    if rest:
        made.orphans[kin] = rest


def _plan_removal(
    made: Plan, kin: Kin, indices: IndexSet, snapshot: Snapshot, resting: IndexSet, reason: str
) -> None:
    made.removing[kin] = made.removing.get(kin, EMPTY) | indices
    made.miss(kin, indices)
    todo = indices - resting
    made.add(StepKind.UNDEFINE, kin, todo & snapshot.defined.get(kin, EMPTY), reason)
    made.add(StepKind.DESTROY, kin, todo & snapshot.clones.get(kin, EMPTY), reason)


def _released(tombstone: Tombstone, kin: Kin, wanted: Mapping[Kin, IndexSet]) -> IndexSet:
    """Which indices of the kin the tombstone names: not those wanted with that very birth."""
    if tombstone.fleet_uid != kin.fleet_uid or kin.birth > tombstone.born_until:
        return EMPTY
    named = tombstone.indices
    for other, indices in wanted.items():
        if other.fleet_uid == kin.fleet_uid and other.birth == kin.birth:
            named = named - indices
    return named


def _is_done(tombstone: Tombstone, wanted: Mapping[Kin, IndexSet], snapshot: Snapshot) -> bool:
    return all(
        indices.isdisjoint(_released(tombstone, kin, wanted))
        for kin, indices in snapshot.exists.items()
    )


def _plan_stop(
    made: Plan, kin: Kin, off: IndexSet, snapshot: Snapshot, resting: IndexSet, reason: str
) -> None:
    if not off:
        return
    todo = snapshot.active(kin) & off
    made.miss(kin, todo)
    made.add(StepKind.STOP, kin, todo - resting, reason)


def _plan_restarts(
    made: Plan,
    assignment: Assignment,
    snapshot: Snapshot,
    resting: Mapping[Kin, IndexSet],
    permit: StartPermit,
) -> None:
    """Stop those that were last started for a lower value, as many of a fleet as may boot at
    once here. The next plan starts them. What is isolated is stopped already; what could not be
    started again is left as it is."""
    down: dict[str, int] = {}
    shards = [
        shard
        for shard in assignment.shards
        if shard.kin not in permit.isolated and not assignment.bad_spec(shard.kin)
    ]
    for shard in shards:
        if shard.power_on:
            missing = shard.indices - snapshot.phase(shard.kin, Phase.READY)
            missing = missing - resting.get(shard.kin, EMPTY)
            uid = shard.kin.fleet_uid
            down[uid] = down.get(uid, 0) + len(missing)
    for shard in shards:
        behind = _behind(shard, snapshot)
        if not behind:
            continue
        uid, may_start = shard.kin.fleet_uid, shard.kin not in permit.held
        made.miss(shard.kin, behind)
        admission = assignment.specs[uid, shard.kin.generation].admission
        room = max(0, (admission.parallel or 1) - down[uid])
        todo = (behind - resting.get(shard.kin, EMPTY)).lowest(room) if may_start else EMPTY
        down[uid] += len(todo)
        made.held = made.held or not may_start
        made.add(StepKind.STOP, shard.kin, todo, f"restart {shard.restart}")


def _behind(shard: WantedShard, snapshot: Snapshot) -> IndexSet:
    """Which of the shard run, and were last started for a lower value than it has."""
    if not (shard.restart and shard.power_on):
        return EMPTY
    done = IndexSet.union_of(
        indices for value, indices in snapshot.restarts.get(shard.kin, ()) if value >= shard.restart
    )
    return (shard.indices & snapshot.active(shard.kin)) - done


def _plan_blocked(
    made: Plan, kin: Kin, indices: IndexSet, assignment: Assignment, snapshot: Snapshot
) -> IndexSet:
    """The indices whose name is free; notes conflicts for those where it will not become so."""
    free = indices
    name = assignment.fleets[kin.fleet_uid].name
    for other, there in snapshot.exists.items():
        if other == kin:
            continue
        fleet = assignment.fleets.get(other.fleet_uid)
        if fleet is None or fleet.name != name:
            continue
        taken = free & there
        if taken:
            free = free - taken
            made.miss(kin, taken)
            conflict = taken - made.removing.get(other, EMPTY)
            if conflict:
                made.conflicts[kin] = made.conflicts.get(kin, EMPTY) | conflict
    return free


def _plan_bring_up(
    made: Plan,
    kin: Kin,
    free: IndexSet,
    on: IndexSet,
    assignment: Assignment,
    snapshot: Snapshot,
    resting: IndexSet,
    may_start: bool,
) -> None:
    active = free & snapshot.phase(kin, Phase.ACTIVE)
    down = free - snapshot.active(kin)
    halted = free & on & snapshot.phase(kin, Phase.HALTED)
    if suspended := free & on & snapshot.phase(kin, Phase.SUSPENDED):
        made.suspended[kin] = suspended
        made.miss(kin, suspended)
    # What is active keeps what it has: its clone is not made anew beneath it.
    clone = down - snapshot.clones.get(kin, EMPTY) if assignment.has_disk(kin) else EMPTY
    # A definition says how its disk is to be read, which may be otherwise of a clone made anew.
    define = down - (snapshot.defined.get(kin, EMPTY) - clone)
    start = down & on
    waiting = active & on
    amiss = clone | define | start | waiting | halted
    made.miss(kin, amiss)
    if wrong := assignment.bad_spec(kin):
        if amiss:
            made.bad_specs[kin] = Refused(amiss, wrong)
        return
    if not may_start:
        made.held = made.held or bool(clone or define or start or halted)
        clone = define = start = halted = EMPTY
    made.add(StepKind.CLONE, kin, clone - resting, "no clone")
    anew = bool(define & snapshot.defined.get(kin, EMPTY))
    made.add(
        StepKind.DEFINE, kin, define - resting, "its clone is made anew" if anew else "not defined"
    )
    begun = start | halted
    reason = "halted after an error" if halted else "not active"
    made.add(StepKind.START, kin, begun - resting, reason)
    made.add(StepKind.AWAIT_READY, kin, (waiting | begun) - resting, "readiness not seen")
