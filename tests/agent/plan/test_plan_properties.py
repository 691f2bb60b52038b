"""The planner against any situation: carried out, a plan leads to what is wanted, and it never
touches what nobody named."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.assignment import Assignment, parse_assignment
from fleet_agent.core.model import CloneRun, DomainRun, Phase, StepKind
from fleet_agent.core.plan.plan import Plan, plan
from fleet_agent.core.plan.snapshot import Snapshot, snapshot_of
from tests.doubles.assignments import SPV, WEB, assignment, kin, shard, tombstone

VMS = range(8)
BIRTHS = (10, 20, 30)
Vm = tuple[Kin, int]


@dataclass
class World:
    """VMs one by one: which have a clone, and the phase of those that have a domain."""

    clones: set[Vm] = field(default_factory=set)
    domains: dict[Vm, Phase] = field(default_factory=dict)

    def snapshot(self) -> Snapshot:
        return snapshot_of(
            [CloneRun(one, IndexSet.of([index])) for one, index in self.clones],
            [
                DomainRun(one, IndexSet.of([index]), phase)
                for (one, index), phase in self.domains.items()
            ],
        )

    @property
    def all(self) -> set[Vm]:
        return self.clones | set(self.domains)

    def perform(self, kind: StepKind, vm: Vm) -> None:
        match kind:
            case StepKind.CLONE:
                self.clones.add(vm)
            case StepKind.DEFINE:
                self.domains[vm] = Phase.DEFINED
            case StepKind.START:
                self.domains[vm] = Phase.ACTIVE
            case StepKind.AWAIT_READY:
                assert self.domains[vm] is Phase.ACTIVE
                self.domains[vm] = Phase.READY
            case StepKind.STOP:
                self.domains[vm] = Phase.DEFINED
            case StepKind.UNDEFINE:
                del self.domains[vm]
            case StepKind.DESTROY:
                assert vm not in self.domains
                self.clones.remove(vm)

    def carry_out(self, made: Plan) -> None:
        for step in made.steps:
            for index in step.indices:
                self.perform(step.kind, (step.kin, index))


kins = st.builds(kin, st.sampled_from(BIRTHS), st.just(1), st.sampled_from((SPV, WEB)))
vms = st.tuples(kins, st.sampled_from(VMS))
worlds = st.builds(World, st.sets(vms), st.dictionaries(vms, st.sampled_from(list(Phase))))


@st.composite
def assignments(draw: st.DrawFn) -> types.Assignment:
    shards: list[types.Shard] = []
    stones: list[types.Tombstone] = []
    for fleet in (SPV, WEB):
        for index in VMS:
            if draw(st.booleans()):
                birth, on = draw(st.sampled_from(BIRTHS)), draw(st.booleans())
                shards.append(shard(str(index), birth, on=on, fleet=fleet))
        for number in range(draw(st.integers(0, 2))):
            first, last = sorted((draw(st.sampled_from(VMS)), draw(st.sampled_from(VMS))))
            until = draw(st.sampled_from(BIRTHS))
            stones.append(tombstone(len(stones) * 10 + number, f"{first}-{last}", until, fleet))
    return assignment(*shards, tombstones=stones)


def converge(wanted: Assignment, world: World) -> Plan:
    for _ in range(4):
        made = plan(wanted, world.snapshot(), {})
        if not made.steps:
            return made
        world.carry_out(made)
    raise AssertionError(f"not converged: {made.steps}")


@settings(max_examples=100, deadline=None)
@given(assignments(), worlds)
def test_what_is_wanted_and_not_in_conflict_comes_to_run(
    message: types.Assignment, world: World
) -> None:
    wanted = parse_assignment(message)
    made = converge(wanted, world)
    for one in wanted.shards:
        for index in one.indices - made.conflicts.get(one.kin, EMPTY):
            active = world.domains[one.kin, index] is not Phase.DEFINED
            assert active == one.power_on
            assert (one.kin, index) in world.clones or active


@settings(max_examples=100, deadline=None)
@given(assignments(), worlds)
def test_only_what_is_named_is_removed(message: types.Assignment, world: World) -> None:
    wanted = parse_assignment(message)
    before = world.all
    converge(wanted, world)
    for one, index in before - world.all:
        released = any(
            stone.fleet_uid == one.fleet_uid
            and index in stone.indices
            and one.birth <= stone.born_until
            for stone in wanted.tombstones
        )
        replaced = any(
            new.kin.fleet_uid == one.fleet_uid
            and index in new.indices
            and new.kin.birth > one.birth
            for new in wanted.shards
        )
        assert released or replaced


@settings(max_examples=100, deadline=None)
@given(assignments(), worlds)
def test_every_tombstone_ends_released(message: types.Assignment, world: World) -> None:
    made = converge(parse_assignment(message), world)
    assert sorted(made.released) == sorted(stone.id for stone in message.tombstones)


@settings(max_examples=100, deadline=None)
@given(assignments(), worlds)
def test_a_plan_never_starts_an_orphan_and_never_two_of_a_name(
    message: types.Assignment, world: World
) -> None:
    wanted = parse_assignment(message)
    snapshot = world.snapshot()
    made = plan(wanted, snapshot, {})
    up = (StepKind.CLONE, StepKind.DEFINE, StepKind.START)
    for step in made.steps:
        if step.kind not in up:
            continue
        assert step.indices.isdisjoint(made.orphans.get(step.kin, EMPTY))
        for other, there in snapshot.exists.items():
            if other != step.kin and other.fleet_uid == step.kin.fleet_uid:
                assert step.indices.isdisjoint(there)
