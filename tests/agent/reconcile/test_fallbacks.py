"""VMs that were begun in another way than their fleet asks for: which and why, in the reports."""

from __future__ import annotations

from dataclasses import replace

from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.model import DomainRun, Phase
from fleet_agent.core.plan.snapshot import snapshot_of
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.hollow.profile import INSTANT
from fleet_agent.reconcile.problems import LONGEST_WHY, MOST_WHYS, fallbacks_of
from fleet_agent.reporting.report_stream import Pace
from tests.agent.agent_host import Host, listening, settled, until
from tests.doubles.assignments import SPV, WEB, assignment, indices, kin, shard
from tests.virtual_loop import virtual

WHY = "no template could be made: /dev/shm has 31 MiB left, and a template takes 80 MiB"


class Booting(HollowHypervisor):
    """Some of its VMs boot where copies are asked for."""

    fallback = WHY

    async def listing(self) -> tuple[DomainRun, ...]:
        return tuple(replace(one, fallback=self.fallback) for one in await super().listing())


def told(report: wire.Report) -> list[tuple[str, list[tuple[int, int]], str]]:
    return [
        (one.fleet_uid, [(each.start, each.stop) for each in one.ranges], one.why)
        for one in report.fallbacks
    ]


@virtual
async def test_vms_that_booted_are_reported_with_the_reason_until_they_are_clones() -> None:
    host = Host()
    host.hypervisor = booting = Booting(Behaviour.of(INSTANT))
    async with host.running() as agent, listening(agent, Pace(0.1, 1)) as listener:
        await until(lambda: bool(listener.reports))
        assert listener.reports[0].fallbacks_set and not listener.reports[0].fallbacks
        await settled(agent, assignment(shard("0-4", 10), shard("7", 10)), 10)
        await until(lambda: any(report.fallbacks for report in listener.reports))
        news = [report for report in listener.reports if report.fallbacks]
        assert told(news[-1]) == [(SPV.uid, [(0, 5), (7, 8)], WHY)]
        # No news, no words; then all are clones.
        booting.fallback = ""
        count = len(listener.reports)
        agent.look_again()
        await until(lambda: any(report.fallbacks_set for report in listener.reports[count:]))
        assert not any(report.fallbacks for report in listener.reports[count:])


def test_very_many_reasons_are_told_as_few_and_no_vm_is_left_out() -> None:
    runs = [
        DomainRun(kin(10), indices(f"{n}"), Phase.READY, fallback=f"{n:03} MiB left " + "x" * 400)
        for n in range(100)
    ]
    other = DomainRun(kin(10, fleet=WEB), indices("3"), Phase.ACTIVE, fallback="\udcff")
    found = fallbacks_of(snapshot_of((), [*runs, other]))
    assert len(found) == MOST_WHYS + 1
    spv = [one for one in found if one.fleet_uid == SPV.uid]
    assert sum(each.stop - each.start for one in spv for each in one.ranges) == 100
    assert all(len(one.why) <= LONGEST_WHY for one in found)
    assert found[-1].why == "\\udcff"
