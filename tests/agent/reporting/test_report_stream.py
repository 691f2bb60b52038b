"""Reports: full, then deltas; at the reader's pace; nothing lost and nothing queued."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from fleet.keys import Term
from fleet.v1 import types_pb2 as types
from fleet_agent.core.model import StepKind, VmState
from fleet_agent.drivers.hollow.profile import DOM0, Fault, Profile
from fleet_agent.reporting.report_stream import Pace
from tests.agent.agent_host import Host, give, listening, settled, states_in, until
from tests.doubles.assignments import SPV, assignment, indices, shard, spec, tombstone
from tests.virtual_loop import virtual


def all_running(first: int, stop: int, birth: int) -> dict[tuple[str, int, int], int]:
    return {(SPV.uid, birth, index): int(VmState.RUNNING) for index in range(first, stop)}


@virtual
async def test_a_whole_scale_of_an_instant_host_is_one_report() -> None:
    host = Host()
    async with host.running() as agent, listening(agent, Pace(5, 1000)) as listener:
        await asyncio.sleep(1)
        assert [report.full for report in listener.reports] == [True]
        await give(agent, assignment(shard("0-249", 10)), 10)
        await asyncio.sleep(0.001)
        _, delta = listener.reports
        assert (delta.full, delta.sequence, delta.epoch.revision) == (False, 2, 10)
        assert delta.converged
        assert delta.shards[0].runs[0].states == bytes([VmState.RUNNING]) * 250
        await asyncio.sleep(100)
        assert len(listener.reports) == 2


@virtual
async def test_the_first_report_is_full_and_has_everything() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-9", 10)), 10)
        less = assignment(shard("0-4", 10), tombstones=[tombstone(3, "5-9", 10)])
        await settled(agent, less, 11)
        await settled(agent, assignment(shard("0-2", 10), tombstones=less.tombstones), 12)
        async with listening(agent) as listener:
            await until(lambda: bool(listener.reports))
        [report] = listener.reports
        assert (report.sequence, report.full, report.converged) == (1, True, True)
        assert states_in([report]) == all_running(0, 5, 10)
        assert list(report.released) == [3]
        assert report.orphans_set
        [orphan] = report.orphans
        assert list(orphan.ranges) == [types.IndexRange(start=3, stop=5)]
        assert report.facts.boot_id == "boot-1"
        assert report.epoch == types.Epoch(store_generation=1, revision=12)


@virtual
async def test_deltas_add_up_to_what_a_full_report_says() -> None:
    host = Host(profile=DOM0)
    async with host.running() as agent, listening(agent, Pace(0.3, 5)) as listener:
        wanted = assignment(shard("0-19", 10), template=spec(parallel=4))
        await settled(agent, wanted, 10)
        both = assignment(
            shard("0-9", 10),
            shard("30-39", 11),
            tombstones=[tombstone(1, "10-19", 10)],
            template=spec(parallel=4),
        )
        await give(agent, both, 11)
        await asyncio.sleep(0.7)
        host.hollow.lose(SPV.uid, indices("0-1"))
        await until(lambda: agent.board.converged and agent.board.released == {1})
        await asyncio.sleep(5)
        async with listening(agent) as fresh:
            await until(lambda: bool(fresh.reports))
        assert states_in(listener.reports) == states_in(fresh.reports)
        assert [one.sequence for one in listener.reports] == list(
            range(1, len(listener.reports) + 1)
        )
        assert sorted(n for one in listener.reports for n in one.released) == [1]


@virtual
async def test_reports_keep_the_pace_and_convergence_does_not_wait_for_it() -> None:
    host = Host(profile=DOM0)
    async with host.running() as agent, listening(agent, Pace(2.0, 1000)) as listener:
        await asyncio.sleep(10)
        wanted = assignment(shard("0-49", 10), template=spec(parallel=8))
        await give(agent, wanted, 10)
        given = asyncio.get_running_loop().time()
        await until(lambda: agent.board.converged and agent.board.epoch == (1, 10))
        await asyncio.sleep(10)
        times = listener.times[1:]
        assert times[0] - given < 0.1
        gaps = [later - one for one, later in pairwise(times)]
        assert all(gap >= 1.99 for gap in gaps[:-1])
        assert gaps[-1] < 2.0
        assert listener.reports[-1].converged


@virtual
async def test_each_boot_is_told_once_to_each_reader_and_is_no_news_by_itself() -> None:
    host = Host()
    async with host.running() as agent:
        await give(agent, assignment(shard("0-49", 10), template=spec(parallel=8)), 10)
        async with listening(agent, Pace(0.2, 1000)) as listener:
            await until(lambda: agent.board.converged and agent.board.epoch == (1, 10))
            await asyncio.sleep(1)
            assert sum(sum(report.boots) for report in listener.reports) == 50
            seen = len(listener.reports)
            agent.board.booted(3, 0.5)
            await asyncio.sleep(100)
            assert len(listener.reports) == seen
            async with listening(agent, Pace(0.2, 1000)) as later:
                await asyncio.sleep(1)
                assert not any(report.boots for report in later.reports)
            await give(agent, assignment(shard("0-48", 10), template=spec(parallel=8)), 11)
            await until(lambda: agent.board.converged and agent.board.epoch == (1, 11))
            await asyncio.sleep(1)
            told = [report for report in listener.reports[seen:] if report.boots]
            assert [(sum(one.boots), one.boot_seconds) for one in told] == [(3, 1.5)]


@virtual
async def test_silence_is_broken_by_heartbeats_without_news() -> None:
    host = Host()
    async with host.running() as agent, listening(agent, Pace(0.2, 30)) as listener:
        await asyncio.sleep(95)
        assert len(listener.reports) == 4
        beat = listener.reports[-1]
        assert not beat.shards and not beat.problems_set and not beat.orphans_set


@virtual
async def test_a_new_epoch_that_changes_nothing_is_told_all_the_same() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-9", 10)), 10)
        async with listening(agent, Pace(0.2, 1000)) as listener:
            await asyncio.sleep(1)
            await give(agent, assignment(shard("0-9", 10)), 11)
            await asyncio.sleep(0.01)
            assert listener.reports[-1].epoch.revision == 11
            assert listener.reports[-1].converged


@virtual
async def test_what_a_slow_reader_missed_comes_as_one() -> None:
    host = Host()
    async with host.running() as agent:
        stream = agent.open_reports(Term(1, 1), Pace(0.0, 1000))
        first = await stream.next()
        for revision in range(10, 20):
            wanted = assignment(shard(f"0-{revision}", 10))
            await settled(agent, wanted, revision)
        second = await stream.next()
        assert first is not None and second is not None
        assert states_in([first, second]) == all_running(0, 20, 10)
        assert second.sequence == 2
        agent.close_reports(stream)


@virtual
async def test_gone_is_told_once_and_what_came_back_is_not_gone() -> None:
    host = Host()
    async with host.running() as agent, listening(agent, Pace(0.1, 1000)) as listener:
        await settled(agent, assignment(shard("0-9", 10)), 10)
        await settled(agent, assignment(tombstones=[tombstone(1, "0-9", 10)]), 11)
        await settled(agent, assignment(), 12)
        await settled(agent, assignment(shard("0-9", 20)), 13)
        await asyncio.sleep(1)
        assert states_in(listener.reports) == all_running(0, 10, 20)


@virtual
async def test_problems_are_counted_by_kind_and_cleared() -> None:
    fault = Fault(StepKind.START, 1.0, "no_memory", "4 MiB wanted", attempts=1)
    host = Host(profile=Profile(faults=(fault,)))
    async with host.running() as agent, listening(agent, Pace(0.1, 1000)) as listener:
        await give(agent, assignment(shard("5-9", 10)), 10)
        await asyncio.sleep(30)
        told = [report for report in listener.reports if report.problems_set]
        [problem] = told[-2].problems
        assert (problem.kind, problem.count, problem.example_index) == ("no_memory", 5, 5)
        assert not told[-1].problems


@virtual
async def test_the_reader_may_change_the_pace() -> None:
    host = Host()
    async with host.running() as agent:
        stream = agent.open_reports(Term(1, 1), Pace(0.2, 1000))
        await asyncio.sleep(1)
        await stream.next()
        waiting = asyncio.create_task(stream.next())
        await asyncio.sleep(50)
        assert not waiting.done()
        stream.set_pace(Pace(0.2, 10))
        assert await waiting is not None
        agent.close_reports(stream)
        assert await stream.next() is None
