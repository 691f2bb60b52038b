"""Assignments as agents are told them: complete, with all that they refer to."""

from __future__ import annotations

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.assignment import parse_assignment
from fleet_controller.agents.assignment_messages import AssignmentMessages
from fleet_controller.core.model import Assignment, FleetRecord, GoneFleet, Meta, Shard, Tombstone
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store import keys
from fleet_controller.store.codec import encode, encode_spec
from fleet_controller.store.port import Put

B, G, R = (f"0d4b6f0e-9f43-4b70-8a3c-2b7e5b0c9d{two}" for two in ("0b", "0c", "0d"))
RED = FleetRecord("red", R, 1, site=2, generation=2)
BLUE = FleetRecord("blue", B, 2)
OLD = types.FleetSpec(memory_bytes=4 << 20, vcpus=1)
NEW = types.FleetSpec(memory_bytes=8 << 20, vcpus=1)
TERM = types.Term(store_generation=3, revision=77)


def state_with(assignment: Assignment) -> ClusterState:
    state = ClusterState()
    state.written(
        [
            Put(keys.META, encode(Meta(generation=3))),
            Put(keys.fleet("red"), encode(RED)),
            Put(keys.fleet("blue"), encode(BLUE)),
            Put(keys.spec(R, 1), encode_spec(OLD)),
            Put(keys.spec(R, 2), encode_spec(NEW)),
            Put(keys.spec(B, 1), encode_spec(OLD)),
        ],
        5,
    )
    state.written([Put(keys.assignment("h1"), encode(assignment))], 9)
    return state


def test_a_host_never_assigned_anything_is_told_nothing() -> None:
    assert AssignmentMessages(state_with(Assignment())).request("h2", TERM) is None


def test_an_empty_assignment_is_told_as_one() -> None:
    request = AssignmentMessages(state_with(Assignment())).request("h1", TERM)
    assert request is not None
    assert (request.host_id, request.term) == ("h1", TERM)
    assert request.epoch == types.Epoch(store_generation=3, revision=9)
    assert request.assignment == types.Assignment()


def test_it_carries_the_identities_and_generations_that_it_names_and_no_others() -> None:
    assignment = Assignment(
        (
            Shard(R, IndexSet([(0, 3), (7, 9)]), 2, 8),
            Shard(R, IndexSet.span(3, 5), 2, 8, power=False),
        ),
        (Tombstone(4, B, IndexSet.span(1, 2), 6),),
    )
    request = AssignmentMessages(state_with(assignment)).request("h1", TERM)
    assert request is not None
    told = request.assignment
    assert [(f.uid, f.name, f.number, f.site) for f in told.fleets] == [
        (B, "blue", 2, 0),
        (R, "red", 1, 2),
    ]
    assert [(s.fleet_uid, s.generation, s.spec) for s in told.specs] == [(R, 2, NEW)]
    on, off = told.shards
    assert [(r.start, r.stop) for r in on.ranges] == [(0, 3), (7, 9)]
    assert (on.generation, on.birth, on.power) == (2, 8, types.POWER_ON)
    assert off.power == types.POWER_OFF
    (stone,) = told.tombstones
    assert (stone.id, stone.fleet_uid, stone.born_until) == (4, B, 6)
    assert parse_assignment(told).shards, "an agent takes it"


def test_what_is_left_of_a_deleted_fleet_is_told_with_the_name_it_had() -> None:
    state = state_with(Assignment((), (Tombstone(4, G, IndexSet.span(1, 2), 6),)))
    messages = AssignmentMessages(state)
    unnamed = messages.request("h1", TERM)
    assert unnamed is not None and not unnamed.assignment.tombstones, "an agent would refuse all"
    state.written([Put(keys.gone(G), encode(GoneFleet("green", G, 9, 2)))], 10)
    messages.forget()
    told = messages.request("h1", TERM)
    assert told is not None
    assert told.assignment.fleets[0] == types.FleetIdentity(uid=G, name="green", number=9, site=2)
    assert [stone.id for stone in parse_assignment(told.assignment).tombstones] == [4]


def test_what_was_rendered_once_is_forgotten_when_it_changes() -> None:
    state = state_with(Assignment((Shard(B, IndexSet.span(0, 3), 1, 8),)))
    messages = AssignmentMessages(state)
    first = messages.request("h1", TERM)
    renumbered = FleetRecord("blue", B, 7)
    state.written([Put(keys.fleet("blue"), encode(renumbered))], 10)
    assert messages.request("h1", TERM) == first
    messages.forget()
    again = messages.request("h1", TERM)
    assert again is not None and again.assignment.fleets[0].number == 7
