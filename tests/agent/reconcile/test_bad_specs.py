"""A template that cannot be carried out takes out the VMs that are made with it, nothing else."""

from __future__ import annotations

import math

import pytest

from fleet.v1 import types_pb2 as types
from fleet_agent.core.assignment import parse_assignment
from fleet_agent.core.model import Phase, StepKind, VmState
from fleet_agent.core.plan.isolation import StartPermit
from fleet_agent.core.plan.plan import plan
from fleet_agent.core.plan.states import states_of
from fleet_agent.reconcile.ledger import LedgerRecord, MemoryLedger
from tests.agent.agent_host import Host, give, settled, until
from tests.doubles.assignments import (
    SPV,
    WEB,
    assignment,
    clones,
    domains,
    existing,
    indices,
    kin,
    running,
    shard,
    spec,
    tombstone,
)
from tests.virtual_loop import virtual

NUMBERS = [math.inf, -math.inf, math.nan, 1e308, -1.0]
each_number = pytest.mark.parametrize("number", NUMBERS)
WEBS = kin(5, fleet=WEB)


def with_a_bad_one(number: float, *more: types.Shard, birth: int = 10) -> types.Assignment:
    """spv 0-9 of a template with that rate, and web 0-4 of a good one."""
    made = assignment(shard("0-9", birth), *more, shard("0-4", 5, fleet=WEB))
    for one in made.specs:
        if one.fleet_uid == SPV.uid:
            one.spec.admission.per_second = number
    return made


@each_number
@virtual
async def test_the_vms_of_a_bad_template_fail_and_the_rest_is_carried_out(number: float) -> None:
    host = Host()
    async with host.running() as agent:
        await give(agent, with_a_bad_one(number), 10)
        await until(lambda: agent.board.having(WEBS, VmState.RUNNING) == indices("0-4"))
        assert agent.board.having(kin(10), VmState.FAILED) == indices("0-9")
        assert {step.kin for step in host.steps} == {WEBS}
        (problem,) = agent.board.problems
        assert (problem.kind, problem.count, problem.fleet_uid) == ("bad_spec", 10, SPV.uid)
        assert "generation 1 cannot be carried out: admission.per_second" in problem.example_message


@virtual
async def test_a_bad_template_in_the_ledger_does_not_keep_an_agent_from_starting() -> None:
    wanted = with_a_bad_one(math.inf)
    ledger = MemoryLedger()
    await ledger.save(
        LedgerRecord("first", "boot-1", assignment=wanted.SerializeToString(deterministic=True))
    )
    host = Host(ledger=ledger)
    async with host.running() as agent:
        await until(lambda: agent.board.having(WEBS, VmState.RUNNING) == indices("0-4"))
        assert agent.board.having(kin(10), VmState.FAILED) == indices("0-9")


@virtual
async def test_a_bad_template_leaves_alone_what_runs_and_a_good_one_brings_the_rest() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-3", 10), shard("0-4", 5, fleet=WEB)), 10)
        host.steps.clear()
        await give(agent, with_a_bad_one(math.nan), 11)
        await until(lambda: agent.board.having(kin(10), VmState.FAILED) == indices("4-9"))
        assert agent.board.having(kin(10), VmState.RUNNING) == indices("0-3")
        assert host.steps == []
        await settled(agent, assignment(shard("0-9", 10), shard("0-4", 5, fleet=WEB)), 12)
        assert agent.board.having(kin(10), VmState.RUNNING) == indices("0-9")
        assert not agent.board.problems


@pytest.mark.parametrize("kept", [b"\xff\xff", assignment(shard("0", -1)).SerializeToString()])
@virtual
async def test_a_ledger_that_makes_no_sense_stops_nothing_and_is_assigned_anew(kept: bytes) -> None:
    ledger = MemoryLedger()
    host = Host(ledger=ledger)
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-3", 10)), 10)
    record = await ledger.load()
    assert record is not None
    await ledger.save(LedgerRecord("first", "boot-1", record.term, record.epoch, kept, kept))
    host.steps.clear()
    async with host.running() as agent:
        await agent.first_round_over.wait()
        assert agent.board.awaits_assign and not host.steps, "what runs is left as it is"
        await settled(agent, assignment(shard("0-3", 10)), 11)
        assert agent.board.having(kin(10), VmState.RUNNING) == indices("0-3")
        assert not host.steps


def bad(*shards: types.Shard) -> types.Assignment:
    return assignment(*shards, template=spec(per_second=math.inf))


def test_those_of_a_bad_template_are_stopped_and_released_when_asked() -> None:
    wanted = parse_assignment(bad(shard("0-1", 10, on=False), shard("5", 10)))
    made = plan(wanted, existing(*running("0-1", 10)), {})
    assert [(step.kind, step.indices) for step in made.steps] == [(StepKind.STOP, indices("0-1"))]
    message = bad(shard("5", 10))
    message.tombstones.append(tombstone(7, "0-1", 10))
    made = plan(parse_assignment(message), existing(*running("0-1", 10)), {})
    assert {step.kind for step in made.steps} == {StepKind.UNDEFINE, StepKind.DESTROY}


def test_those_of_a_bad_template_are_not_restarted_since_they_could_not_be_started() -> None:
    wanted = parse_assignment(bad(shard("0-9", 10, restart=4)))
    made = plan(wanted, existing(*running("0-9", 10)), {})
    assert (made.steps, made.bad_specs) == ([], {})


def test_those_of_a_bad_template_that_boot_are_not_waited_for() -> None:
    wanted = parse_assignment(bad(shard("0", 10)))
    there = existing(clones("0", 10), domains("0", 10, Phase.ACTIVE))
    made = plan(wanted, there, {})
    assert made.steps == []
    assert states_of(wanted, there, made, {})[kin(10)] == [(VmState.FAILED, indices("0"))]


def test_what_a_fleet_asks_for_when_nobody_is_heard_holds_with_a_bad_template() -> None:
    message = bad(shard("0", 10))
    message.specs[0].spec.on_isolation_stop_after_seconds = 60
    wanted = parse_assignment(message)
    assert wanted.specs[SPV.uid, 1].on_isolation_stop_after_seconds == 60
    permit = StartPermit(isolated=frozenset([kin(10)]))
    made = plan(wanted, existing(*running("0", 10)), {}, permit=permit)
    assert [step.kind for step in made.steps] == [StepKind.STOP]
