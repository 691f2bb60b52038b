"""An older ledger that was put back: what was assigned since is not undone."""

from __future__ import annotations

import asyncio

from fleet.ranges import EMPTY
from fleet_agent.core.model import Phase
from tests.agent.agent_host import Host, converged, give, settled, until
from tests.doubles.assignments import assignment, indices, kin, shard, tombstone
from tests.virtual_loop import virtual


async def put_back() -> Host:
    """0-4 were released, and 5-9 were made, after the ledger that the host has now."""
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-4", 10), shard("20", 10, on=False)), 10)
    before = await host.ledger.load()
    assert before is not None
    async with host.running() as agent:
        newer = assignment(shard("5-9", 11), shard("20", 10), tombstones=[tombstone(1, "0-4", 10)])
        await settled(agent, newer, 11)
    await host.ledger.save(before)
    host.steps.clear()
    return host


@virtual
async def test_an_older_ledger_put_back_makes_nothing_before_a_controller_is_heard() -> None:
    host = await put_back()
    async with host.running() as agent:
        await until(lambda: bool(agent.board.problems))
        await asyncio.sleep(10_000)  # longer than any grace
        assert host.steps == [], "neither made again, nor stopped as the older ledger wants"
        snapshot = await host.snapshot()
        assert snapshot.phase(kin(10), Phase.READY) == indices("20")
        assert snapshot.clones.get(kin(11), EMPTY) == indices("5-9")
        (told,) = agent.board.problems
        assert told.kind == "old_ledger" and "(1, 11)" in told.example_message
        assert agent.board.awaits_assign and not agent.board.converged

        await give(agent, assignment(shard("5-9", 11), shard("20", 10)), 11)
        await converged(agent, 11)
        assert not agent.board.problems and not agent.board.awaits_assign
        assert host.steps == []


@virtual
async def test_what_an_agent_makes_itself_is_no_sign_of_an_older_ledger() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-4", 10)), 10)
    await host.lose_all()
    async with host.running() as agent:
        await until(lambda: agent.board.converged)
        assert not agent.board.awaits_assign
        await settled(agent, assignment(shard("0-4", 10), shard("5", 12)), 12)
        assert not agent.board.problems


@virtual
async def test_a_lost_ledger_is_no_older_one() -> None:
    host = await put_back()
    again = Host()
    host.ledger = again.ledger
    async with host.running() as agent:
        await until(lambda: bool(agent.board.orphans))
        assert not agent.board.problems
