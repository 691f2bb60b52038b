"""Parties of different releases: what an older one does with words that it does not know."""

from __future__ import annotations

import numpy as np
import pytest

from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_agent.core.assignment import parse_assignment
from fleet_controller.core.model import Assignment, FleetRecord, HostRecord, Meta, Shard
from fleet_controller.core.recovery.freeze import Freeze
from fleet_controller.core.vm_states import UNKNOWN
from fleet_controller.observed.reports import Observed
from fleet_controller.observed.vectors import FleetVector
from fleet_controller.store.codec import decode, decode_spec, encode_spec
from fleetctl.views.enum_names import health_name, state_name
from fleetctl.views.fleets.fleet_status import states_of
from tests.agent.agent_host import Host, settled
from tests.doubles.assignments import assignment, shard
from tests.virtual_loop import virtual

# Field 1000, a text: what no release has yet.
LATER = bytes((0xC2, 0x3E, 5)) + b"later"


def with_later(message: bytes) -> bytes:
    return message + LATER


# An agent older than its controller


@virtual
async def test_an_agent_runs_what_it_understands_of_an_assignment_and_keeps_the_rest() -> None:
    told = assignment(shard("0-9", 10))
    told.shards[0].MergeFromString(LATER)
    told.MergeFromString(LATER)
    host = Host()
    async with host.running() as agent:
        await settled(agent, told, 10)
        assert len(agent.board.kins) == 1
    kept = await host.ledger.load()
    assert kept is not None
    assert types.Assignment.FromString(kept.assignment) == told, "for the release to come"
    async with host.running() as agent:
        await settled(agent, told, 10)  # the same one, byte for byte


@pytest.mark.parametrize("power", [types.POWER_UNSPECIFIED, types.POWER_ON, 3, 99])
def test_an_agent_stops_nothing_for_a_power_that_it_does_not_know(power: int) -> None:
    told = assignment(shard("0-9", 10))
    told.shards[0].power = power  # type: ignore[assignment]
    again = types.Assignment.FromString(told.SerializeToString())
    assert parse_assignment(again).shards[0].power_on


@virtual
async def test_an_agent_that_knows_no_restarts_restarts_none() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-9", 10)), 10)
        host.steps.clear()
        told = assignment(shard("0-9", 10))
        told.shards[0].MergeFromString(LATER)  # as `restart` was before it was known
        await settled(agent, told, 11)
        assert host.steps == []


# A controller older than its agents


def test_a_controller_counts_states_that_it_does_not_know_as_unknown() -> None:
    vector = FleetVector()
    vector.place(0, IndexSet.span(0, 4), 1, UNKNOWN)
    vector.set_states(0, 0, np.array([5, 9, 15, 255], np.uint8))
    assert (vector.counts()[5], vector.counts()[UNKNOWN], sum(vector.counts())) == (1, 3, 4)


def test_a_controller_takes_a_report_with_fields_that_it_does_not_know() -> None:
    observed = Observed()
    observed.assigned("h1", Assignment((Shard("uid", IndexSet.span(0, 3), 1, 5),)))
    run = wire.StateRun(start=0, states=bytes((5, 5, 12)))
    report = wire.Report(
        full=True,
        epoch=types.Epoch(store_generation=1, revision=7),
        shards=[wire.ShardReport(fleet_uid="uid", generation=1, birth=5, runs=[run])],
    )
    observed.reported("h1", wire.Report.FromString(with_later(report.SerializeToString())), 7)
    assert observed.vectors["uid"].counts()[5] == 2
    assert observed.vectors["uid"].counts()[UNKNOWN] == 1


# A controller older than its store


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Meta, b'{"generation":3,"later":{"x":1}}'),
        (HostRecord, b'{"id":"h","address":"h:1","later":[1]}'),
        (
            FleetRecord,
            b'{"name":"spv","uid":"0d4b6f0e-9f43-4b70-8a3c-2b7e5b0c9d11","number":1,"later":true}',
        ),
        (
            Assignment,
            b'{"shards":[{"fleet":"u","ranges":[[0,10]],"generation":1,"birth":2,"x":1}]}',
        ),
        (Freeze, b'{"reason":"why","since":1.0,"later":0}'),
    ],
)
def test_records_of_a_newer_controller_can_be_read(kind: type, value: bytes) -> None:
    assert decode(kind, "key", value)


@pytest.mark.parametrize("later", ['"ON_LOSS_LATER"', "7"])
def test_a_template_with_a_choice_that_is_not_known_can_be_read(later: str) -> None:
    stored = f'{{"memory_bytes":"4194304","vcpus":1,"on_loss":{later},"later":{{"x":1}}}}'
    spec = decode_spec("key", stored.encode())
    assert spec.vcpus == 1
    assert spec.on_loss not in (types.ON_LOSS_REPLACE, types.ON_LOSS_WAIT)


def test_a_choice_that_is_not_known_is_kept_as_its_number() -> None:
    spec = types.FleetSpec(vcpus=1, on_loss=7)  # type: ignore[arg-type]
    assert decode_spec("key", encode_spec(spec)).on_loss == 7


# A fleetctl older than its controller


def test_fleetctl_shows_what_it_does_not_know_as_unknown() -> None:
    assert (state_name(9), state_name(200), health_name(17)) == ("unknown", "unknown", "unknown")
    status = cluster.FleetStatus(states=[0, 0, 0, 0, 0, 4, 0, 0, 1, 2, 3])
    assert (states_of(status)["running"], states_of(status)["unknown"]) == (4, 6)


def test_fleetctl_reads_answers_with_fields_that_it_does_not_know() -> None:
    answer = cluster.StatusResponse(fleets=[cluster.FleetStatus(fleet="spv")])
    again = cluster.StatusResponse.FromString(with_later(answer.SerializeToString()))
    assert again.fleets[0].fleet == "spv"
