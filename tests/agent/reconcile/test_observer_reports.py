"""What an observer is told of a host whose drivers do not work: what the ledger says."""

from __future__ import annotations

import asyncio

from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.model import DomainRun, VmState
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reporting.report_stream import Pace
from tests.agent.agent_host import Host, give, settled, states_in, until
from tests.doubles.assignments import SPV, assignment, shard, tombstone
from tests.virtual_loop import virtual

TEN = assignment(shard("0-9", 10))
# 0 to 4 stay, 5 to 7 go, 8 and 9 are made anew, and three are new.
OTHERS = assignment(shard("0-4", 10), shard("8-12", 11), tombstones=[tombstone(1, "5-7", 10)])


class Frail(HollowHypervisor):
    """libvirtd, which may be away."""

    away = False

    async def listing(self) -> tuple[DomainRun, ...]:
        if self.away:
            raise DriverError("libvirtd does not answer")
        return await super().listing()


def frail_host() -> tuple[Host, Frail]:
    host = Host()
    host.hypervisor = frail = Frail(host.hollow._behaviour)
    return host, frail


def words(reports: list[wire.Report]) -> dict[tuple[int, str], list[int]]:
    """By birth and state: the indices."""
    found: dict[tuple[int, str], list[int]] = {}
    for (uid, birth, index), state in sorted(states_in(reports).items()):
        assert uid == SPV.uid
        found.setdefault((birth, VmState(state).name), []).append(index)
    return found


def standing(report: wire.Report) -> tuple[int, bool]:
    return report.epoch.revision, report.converged


async def observed(agent: Agent) -> wire.Report:
    """The first report to an observer."""
    stream = agent.open_observation(Pace())
    report = await stream.next()
    agent.close_reports(stream)
    assert report is not None and report.full
    return report


@virtual
async def test_what_was_assigned_and_not_looked_at_yet_is_told() -> None:
    host, frail = frail_host()
    async with host.running() as agent:
        await settled(agent, TEN, 10)
        assert standing(await observed(agent)) == (10, True)
        frail.away = True
        await give(agent, OTHERS, 11)
        await asyncio.sleep(100)
        report = await observed(agent)
        assert standing(report) == (11, False)
        assert words([report]) == {
            (10, "RUNNING"): [0, 1, 2, 3, 4],
            (10, "STOPPING"): [5, 6, 7, 8, 9],
            (11, "UNKNOWN"): [8, 9, 10, 11, 12],
        }


@virtual
async def test_an_agent_that_never_saw_its_host_tells_what_the_ledger_says() -> None:
    host, frail = frail_host()
    async with host.running() as agent:
        await settled(agent, TEN, 10)
        frail.away = True
        await give(agent, OTHERS, 11)
    async with host.running() as agent:
        await asyncio.sleep(100)
        report = await observed(agent)
        assert standing(report) == (11, False)
        assert words([report]) == {
            (10, "UNKNOWN"): [0, 1, 2, 3, 4],
            (10, "STOPPING"): [5, 6, 7],
            (11, "UNKNOWN"): [8, 9, 10, 11, 12],
        }


@virtual
async def test_an_observer_hears_at_once_what_is_assigned_meanwhile() -> None:
    host, frail = frail_host()
    reports: list[wire.Report] = []
    async with host.running() as agent:
        await settled(agent, TEN, 10)
        stream = agent.open_observation(Pace(heartbeat=20))

        async def read() -> None:
            while (report := await stream.next()) is not None:
                reports.append(report)

        reading = asyncio.create_task(read())
        await until(lambda: len(reports) == 1)
        frail.away = True
        await asyncio.sleep(100)
        await give(agent, OTHERS, 11)
        await asyncio.sleep(0.01)
        assert (reports[-1].full, standing(reports[-1])) == (True, (11, False))
        assert (11, "UNKNOWN") in words(reports)
        await asyncio.sleep(50)
        assert (reports[-1].full, standing(reports[-1])) == (False, (11, False))
        frail.away = False
        await until(lambda: reports[-1].converged, 60)
        assert words(reports) == words([await observed(agent)])
        assert [one.sequence for one in reports] == list(range(1, len(reports) + 1))
        agent.close_reports(stream)
        await reading
