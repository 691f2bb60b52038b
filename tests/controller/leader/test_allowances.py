"""What hosts may have follows their assignments, their capacity, and what operators say."""

from __future__ import annotations

from msgspec import structs

from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Assignment, Capacity, HostRecord, Shard
from fleet_controller.leader.allowances import Allowances
from fleet_controller.mirror.state import ClusterState
from fleet_controller.observed.report_bounds import bounded
from fleet_controller.store import keys
from fleet_controller.store.codec import encode, encode_spec

RECORD = HostRecord("a", "a:1", capacity=Capacity(guests=300))


def test_an_allowance_follows_the_store_and_is_kept_while_that_stands() -> None:
    state = ClusterState()
    allowances = Allowances(state)
    assert allowances.of("a").guests == 256, "of a host that nobody knows"
    state.apply(keys.host("a"), encode(RECORD), 1)
    first = allowances.of("a")
    assert (first.guests, first.fleets) == (300, set())
    assert allowances.of("a") is first
    assignment = Assignment((Shard("uid-1", IndexSet.span(0, 500), 1, 1),))
    state.apply(keys.assignment("a"), encode(assignment), 2)
    second = allowances.of("a")
    assert (second.guests, second.vms, second.fleets) == (500, 2000, {"uid-1"})
    assert allowances.of("a", any_fleet=True).fleets is None
    assert allowances.of("a").fleets == {"uid-1"}
    bounded = structs.replace(RECORD, max_guests=2000)
    state.apply(keys.host("a"), encode(bounded), 3)
    assert allowances.of("a").guests == 2000, "an operator says that it may hold so many"
    allowances.forget("a")
    assert allowances.of("a").guests == 2000


def test_a_host_may_hand_back_the_user_data_that_it_was_told() -> None:
    state = ClusterState()
    spec = types.FleetSpec(identity=types.Identity(user_data="x" * 65536))
    state.apply(keys.spec("uid-1", 1), encode_spec(spec), 1)
    assignment = Assignment((Shard("uid-1", IndexSet.span(0, 5), 1, 1),))
    state.apply(keys.assignment("a"), encode(assignment), 2)
    allowed = Allowances(state).of("a")
    told = types.Assignment(specs=[types.GenerationSpec(fleet_uid="uid-1", spec=spec)])
    report = wire.Report(full=True, specs=told.specs, assignment=told.SerializeToString())
    assert bounded(report, allowed) is report
