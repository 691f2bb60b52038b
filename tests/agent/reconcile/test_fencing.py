"""What an agent obeys: terms, epochs, hosts, and what is in the ledger when it answers."""

from __future__ import annotations

import asyncio

import pytest

from fleet.keys import Term
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.core.assignment import BadAssignment
from fleet_agent.reconcile.fencing import StaleEpoch, StaleTerm, WrongHost
from fleet_agent.reconcile.ledger import LedgerFull, LedgerRecord, MemoryLedger
from fleet_agent.reporting.report_stream import Pace
from tests.agent.agent_host import HOST, Host, give, listening, settled, until
from tests.doubles.assignments import assign_request, assignment, shard
from tests.virtual_loop import virtual

TEN = assignment(shard("0-9", 10))


@virtual
async def test_an_older_epoch_is_refused_and_changes_nothing() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, TEN, 10)
        with pytest.raises(StaleEpoch, match="holds the assignment of epoch"):
            await give(agent, assignment(), 9)
        assert agent.epoch == (1, 10)


@virtual
async def test_an_older_store_generation_is_an_older_epoch() -> None:
    host = Host()
    async with host.running() as agent:
        request = assign_request(HOST, TEN, 10)
        request.epoch.store_generation = 2
        await agent.assign(request)
        with pytest.raises(StaleEpoch):
            await give(agent, TEN, 999)


@virtual
async def test_the_same_assignment_again_is_accepted_and_does_nothing() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, TEN, 10)
        host.steps.clear()
        await settled(agent, TEN, 10)
        assert host.steps == []


@virtual
async def test_another_assignment_of_the_same_epoch_is_refused() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, TEN, 10)
        with pytest.raises(StaleEpoch, match="another assignment of epoch"):
            await give(agent, assignment(), 10)


@virtual
async def test_a_lower_term_is_refused_whatever_its_epoch() -> None:
    host = Host()
    async with host.running() as agent:
        await give(agent, TEN, 10, term=5)
        with pytest.raises(StaleTerm, match=r"term \(1, 5\)"):
            await give(agent, assignment(), 11, term=4)
        with pytest.raises(StaleTerm):
            await agent.heard(Term(1, 4).message())


@virtual
async def test_a_term_heard_on_a_stream_alone_is_kept_over_a_restart() -> None:
    host = Host()
    async with host.running() as agent:
        await give(agent, TEN, 10, term=5)
        await agent.heard(Term(1, 8).message())
    async with host.running() as agent:
        assert agent.term == (1, 8)
        with pytest.raises(StaleTerm):
            await give(agent, assignment(), 11, term=7)


@virtual
async def test_an_assignment_for_another_host_is_refused() -> None:
    host = Host()
    async with host.running() as agent:
        with pytest.raises(WrongHost, match="this is host dom0-1, not 'dom0-2'"):
            await agent.assign(assign_request("dom0-2", TEN, 10))
        assert agent.epoch == (0, 0)


@virtual
async def test_a_contradictory_assignment_changes_neither_term_nor_epoch() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, TEN, 10)
        with pytest.raises(BadAssignment):
            await give(agent, assignment(shard("0-9", 10), shard("3", 11)), 11, term=2)
        assert (agent.term, agent.epoch) == ((1, 1), (1, 10))


class Full(MemoryLedger):
    """A disk without room, for a while."""

    full = False

    async def save(self, record: LedgerRecord) -> None:
        if self.full:
            raise LedgerFull("no space left on device")
        await super().save(record)


@virtual
async def test_a_full_disk_refuses_the_assignment_and_nothing_changes() -> None:
    ledger = Full()
    host = Host(ledger=ledger)
    async with host.running() as agent:
        await settled(agent, TEN, 10)
        ledger.full = True
        with pytest.raises(LedgerFull):
            await give(agent, assignment(), 11)
        await asyncio.sleep(100)
        assert agent.epoch == (1, 10)
        assert not agent.board.orphans
        ledger.full = False
        await settled(agent, assignment(shard("0-19", 10)), 12)


class Slow(MemoryLedger):
    """A disk that takes its time."""

    async def save(self, record: LedgerRecord) -> None:
        await asyncio.sleep(5)
        await super().save(record)


@virtual
async def test_nothing_is_done_before_the_ledger_has_it() -> None:
    host = Host(ledger=Slow())
    async with host.running() as agent:
        giving = asyncio.create_task(give(agent, TEN, 10))
        await asyncio.sleep(4.9)
        assert host.steps == []
        await giving
        await until(lambda: agent.board.converged)
        assert host.steps != []


@virtual
async def test_a_caller_that_hangs_up_leaves_ledger_and_agent_of_one_mind() -> None:
    host = Host(ledger=Slow())
    async with host.running() as agent:
        giving = asyncio.create_task(give(agent, TEN, 10))
        await asyncio.sleep(1)
        giving.cancel()
        await until(lambda: agent.epoch == (1, 10), 10)
        await until(lambda: agent.board.converged and agent.board.epoch == (1, 10), 10)


@virtual
async def test_two_assignments_at_once_end_with_the_newer() -> None:
    host = Host(ledger=Slow())
    async with host.running() as agent:
        newer = assignment(shard("0-4", 10))
        async with asyncio.TaskGroup() as group:
            group.create_task(give(agent, TEN, 10))
            group.create_task(give(agent, newer, 11))
        await until(lambda: agent.board.converged and agent.board.epoch == (1, 11), 10)


@virtual
async def test_the_streams_of_an_older_leader_end_when_a_newer_speaks() -> None:
    host = Host()
    async with (
        host.running() as agent,
        listening(agent, term=1) as old,
        listening(agent, term=2) as new,
    ):
        await give(agent, TEN, 10, term=2)
        await until(lambda: old.ended, 1)
        assert not new.ended


@virtual
async def test_the_first_stream_and_the_end_of_the_last_are_told() -> None:
    host = Host()
    async with host.running() as agent:
        async with listening(agent) as one:
            await until(lambda: bool(one.reports))
            async with listening(agent) as two:
                await until(lambda: bool(two.reports))
            assert host.watched == [True]
        assert host.watched == [True, False]


# Seals


def sealed(revision: int, term: int = 1) -> wire.AssignRequest:
    request = assign_request(HOST, TEN, revision)
    request.term.CopyFrom(types.Term(store_generation=1, revision=term, seal=b"of the term"))
    request.epoch.seal, request.assignment_seal = b"of the epoch", b"of the assignment"
    return request


@virtual
async def test_seals_are_kept_over_a_restart_and_handed_back() -> None:
    host = Host()
    async with host.running() as agent:
        await agent.assign(sealed(10, term=5))
    async with host.running() as agent:
        reports = agent.open_observation(Pace())
        report = await reports.next()
        assert report is not None
        assert (report.epoch.seal, report.term.seal) == (b"of the epoch", b"of the term")
        assert report.assignment_seal == b"of the assignment"
        assert types.Assignment.FromString(report.assignment) == TEN
        with pytest.raises(StaleTerm) as stale:
            await agent.heard(Term(1, 4).message())
        assert stale.value.heard == types.Term(store_generation=1, revision=5, seal=b"of the term")


@virtual
async def test_reports_carry_the_seal_of_the_epoch_that_they_describe() -> None:
    host = Host()
    async with host.running() as agent:
        await agent.assign(sealed(10))
        reports = agent.open_reports(Term(1, 1), Pace())
        report = await reports.next()
        while report is None or report.epoch.revision != 10:
            report = await reports.next()
        assert report.epoch.seal == b"of the epoch"


@virtual
async def test_a_seal_that_is_too_long_is_cut() -> None:
    host = Host()
    async with host.running() as agent:
        request = sealed(10)
        request.epoch.seal = bytes(10_000)
        await agent.assign(request)
        assert len(agent.ledger_record.epoch_seal) <= 64


# Reset


@virtual
async def test_a_reset_forgets_the_highest_term_and_epoch_and_stops_nothing() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, TEN, 2**40)
        await agent.heard(Term(2**60, 5).message())
        with pytest.raises(StaleTerm):
            await give(agent, TEN, 3, term=7)
        answer = await agent.reset(wire.ResetRequest(term=Term(1, 7).message(), host_id=HOST))
        assert (answer.term.store_generation, answer.epoch.revision) == (2**60, 2**40)
        assert (agent.term, agent.epoch) == ((1, 7), (0, 0))
        host.steps.clear()
        await give(agent, TEN, 3, term=7)
        await asyncio.sleep(60)
        assert host.steps == [] and agent.epoch == (1, 3)


@virtual
async def test_a_reset_meant_for_another_host_is_refused() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, TEN, 10)
        with pytest.raises(WrongHost):
            await agent.reset(wire.ResetRequest(term=Term(1, 7).message(), host_id="other"))
        assert agent.epoch == (1, 10)
