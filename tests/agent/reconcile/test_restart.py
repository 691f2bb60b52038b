"""An agent that ends at any moment: the next one adopts what runs, and converges."""

from __future__ import annotations

import asyncio

import pytest

from fleet.keys import Epoch, Term
from fleet.ranges import EMPTY
from fleet.v1 import types_pb2 as types
from fleet_agent.core.model import Batch, Mark, Phase, StepKind, VmState
from fleet_agent.core.past_tombstones import MOST, past_tombstones
from fleet_agent.drivers.hollow.profile import DOM0
from fleet_agent.reconcile.ledger import MemoryLedger
from tests.agent.agent_host import HOST, Host, converged, give, in_state, settled, until
from tests.doubles.assignments import (
    SPV,
    assign_request,
    assignment,
    indices,
    kin,
    shard,
    spec,
    tombstone,
)
from tests.virtual_loop import virtual

TEN = assignment(shard("0-9", 10), template=spec(parallel=3))


@virtual
async def test_a_restarted_agent_does_nothing_to_what_runs() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, TEN, 10)
    host.steps.clear()
    async with host.running() as agent:
        await converged(agent, 10)
        assert host.steps == []
        assert in_state(agent, kin(10), VmState.RUNNING) == indices("0-9")
        assert agent.facts.incarnation == "first"


@virtual
async def test_a_restarted_agent_keeps_its_assignment_true_without_a_controller() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, TEN, 10)
    host.hollow.lose(kin(10).fleet_uid, indices("4"))
    async with host.running() as agent:
        await converged(agent, 10)
        assert (await host.snapshot()).phase(kin(10), Phase.READY) == indices("0-9")


@pytest.mark.parametrize("after", [n * 0.17 for n in range(60)])
@virtual
async def test_killed_at_any_moment_of_a_change_the_next_agent_ends_it(after: float) -> None:
    host = Host(profile=DOM0)
    async with host.running() as agent:
        await settled(agent, TEN, 10)
    changed = assignment(
        shard("0-4", 10),
        shard("20-29", 11),
        tombstones=[tombstone(1, "5-9", 10)],
        template=spec(parallel=3),
    )
    async with host.running() as agent:
        await give(agent, changed, 11)
        await asyncio.sleep(after)
    kept = (await host.snapshot()).phase(kin(10), Phase.READY) & indices("0-4")
    assert kept == indices("0-4")
    async with host.running() as agent:
        await converged(agent, 11)
        there = await host.snapshot()
        assert there.exists == {kin(10): indices("0-4"), kin(11): indices("20-29")}
        assert there.phase(kin(11), Phase.READY) == indices("20-29")
        assert agent.board.released == {1}
    starts = [step for step in host.steps if step.kind is StepKind.START]
    assert all(step.indices.isdisjoint(indices("0-4")) for step in starts[1:])


@virtual
async def test_after_a_reboot_nothing_starts_until_the_assignment_comes_again() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, TEN, 10)
    await host.lose_all()
    host.reboot()
    async with host.running() as agent:
        await asyncio.sleep(500)
        assert (await host.snapshot()).phase(kin(10), Phase.READY) == EMPTY
        assert agent.board.awaits_assign
        assert not agent.board.converged
        await settled(agent, TEN, 10)
        assert (await host.snapshot()).phase(kin(10), Phase.READY) == indices("0-9")
        assert not agent.board.awaits_assign


@virtual
async def test_after_a_reboot_what_runs_is_adopted() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, TEN, 10)
    host.reboot()  # the agent saw another boot id; the domains live on
    async with host.running() as agent:
        await until(lambda: bool(agent.board.kins))
        assert in_state(agent, kin(10), VmState.RUNNING) == indices("0-9")
        assert agent.board.converged


@virtual
async def test_an_agent_whose_ledger_is_gone_stops_nothing_and_adopts_what_is_assigned_again() -> (
    None
):
    host = Host()
    async with host.running() as agent:
        await settled(agent, TEN, 10)
    host.ledger, host.steps = MemoryLedger(), []
    async with host.running() as agent:
        await until(lambda: bool(agent.board.orphans))
        await asyncio.sleep(500)
        assert agent.board.orphans == {kin(10): indices("0-9")}
        assert (await host.snapshot()).phase(kin(10), Phase.READY) == indices("0-9")
        assert host.steps == []
        await settled(agent, TEN, 10)
        assert agent.board.orphans == {}
        assert in_state(agent, kin(10), VmState.RUNNING) == indices("0-9")
        assert host.steps == [], "adopted as it was"


@virtual
async def test_an_agent_killed_between_reboot_and_assign_still_waits() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, TEN, 10)
    await host.lose_all()
    host.reboot()
    async with host.running() as agent:
        await agent.heard(Term(1, 9).message())
    async with host.running() as agent:
        await asyncio.sleep(500)
        assert agent.board.awaits_assign
        assert (await host.snapshot()).phase(kin(10), Phase.READY) == EMPTY


async def _released_by_an_agent_that_is_gone(generation: int) -> Host:
    """A host that let 5-9 go, and was told that nobody waits for that any more; then what a dead
    agent had asked for comes about."""
    host = Host()
    async with host.running() as agent:
        await settled(agent, TEN, 10)
        five = shard("0-4", 10)
        await settled(agent, assignment(five, tombstones=[tombstone(1, "5-9", 10)]), 11)
        request = assign_request(HOST, assignment(five), 12)
        request.term.store_generation = request.epoch.store_generation = generation
        await agent.assign(request)
        await until(lambda: agent.board.converged and agent.board.epoch == (generation, 12))
    late = Batch(SPV, kin(10), spec(), Mark(Term(1, 1), Epoch(1, 10)), indices("7"))
    async for result in host.storage.clone(late):
        assert result.done == indices("7")
    return host


@virtual
async def test_what_lands_after_its_release_was_acknowledged_is_removed_by_the_next_agent() -> None:
    host = await _released_by_an_agent_that_is_gone(1)
    async with host.running() as agent:
        await until(lambda: agent.board.converged)
        assert agent.board.orphans == {}
        assert (await host.snapshot()).exists == {kin(10): indices("0-4")}


@virtual
async def test_a_recovered_store_has_said_all_that_is_to_go() -> None:
    host = await _released_by_an_agent_that_is_gone(2)
    async with host.running() as agent:
        await until(lambda: agent.board.converged)
        assert agent.board.orphans == {kin(10): indices("7")}


def test_of_releases_the_newest_are_remembered_and_the_fleets_they_are_of() -> None:
    past = types.Assignment()
    before = assignment(shard("0", 10))
    for number in range(1, MOST + 10):
        after = assignment(shard("0", 10), tombstones=[tombstone(number, "5", 10 + number)])
        past = past_tombstones(past, before, after)
        before = after
    assert [stone.id for stone in past.tombstones] == list(range(9, MOST + 9))
    assert [fleet.uid for fleet in past.fleets] == [SPV.uid]
