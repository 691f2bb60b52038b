"""No path depends on the driver: the same assignments make the same steps, in the same batches
and for the same reasons, on a hollow host, on a slow hollow host, and on libvirt's test driver
over clones in plain files."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.keys import Kin, Term
from fleet.v1 import types_pb2 as types
from fleet_agent.core.model import StepKind
from fleet_agent.core.plan.plan import Step
from fleet_agent.drivers.files.storage import IMAGES, FileStorage
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.hollow.profile import Latency, Profile
from fleet_agent.drivers.hollow.storage import HollowStorage
from fleet_agent.drivers.libvirt.hypervisor import LibvirtHypervisor
from fleet_agent.drivers.ports.hypervisor import Hypervisor
from fleet_agent.drivers.ports.storage import Storage
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reconcile.ledger import MemoryLedger
from fleet_agent.reconcile.loop import LoopSettings
from fleet_agent.reconcile.runner import RunnerSettings
from fleet_agent.reporting.report_stream import Pace
from tests.doubles.assignments import WEB, assign_request, assignment, shard, spec, tombstone
from tests.processes.agent.agent_caller import DEADLINE
from tests.processes.agent.agent_processes import NODE

HOST = "dom0-1"
TEMPLATE = spec(parallel=3)

STORY: list[types.Assignment] = [
    assignment(shard("0-11", 10), template=TEMPLATE),
    assignment(shard("0-11", 10), shard("20-25", 11), template=TEMPLATE),
    assignment(shard("0-11", 10, on=False), shard("20-25", 11), template=TEMPLATE),
    assignment(shard("0-11", 10), shard("0-3", 12, fleet=WEB), template=TEMPLATE),
    assignment(
        shard("0-5", 10),
        shard("0-3", 12, fleet=WEB),
        tombstones=[tombstone(1, "6-11", 10), tombstone(2, "20-25", 11)],
        template=TEMPLATE,
    ),
    assignment(shard("0-5", 15), template=TEMPLATE),
    assignment(
        tombstones=[tombstone(3, "0-5", 15), tombstone(4, "0-3", 12, WEB)], template=TEMPLATE
    ),
]

Drivers = tuple[Storage, Hypervisor]


def hollow(folder: Path) -> Drivers:
    behaviour = Behaviour.of()
    return HollowStorage(behaviour), HollowHypervisor(behaviour)


def slow_hollow(folder: Path) -> Drivers:
    latency = Latency(base=0.002, per_vm=0.001, concurrency=2)
    behaviour = Behaviour.of(Profile(latency=dict.fromkeys(StepKind, latency)))
    return HollowStorage(behaviour), HollowHypervisor(behaviour)


def libvirt(folder: Path) -> Drivers:
    (folder / IMAGES).mkdir()
    (folder / IMAGES / "golden@1").write_bytes(b"golden" * 1000)
    node = folder / "node.xml"
    node.write_text(NODE)
    hypervisor = LibvirtHypervisor(
        f"test://{node}",
        console_log=str(folder / "{name}.log"),
        driver_log=str(folder / "driver.log"),
        boot_id="boot-1",
    )
    return FileStorage(folder), hypervisor


Vm = tuple[Kin, int]


async def traces(drivers: Drivers) -> list[dict[Vm, list[Step]]]:
    """Of each assignment of the story, what each VM went through, in order: with whom in one
    batch, and why. Batches overlap as drivers' speed has it; what a VM sees does not."""
    steps: list[Step] = []
    agent = Agent(
        HOST,
        types.HostFacts(boot_id="boot-1"),
        *drivers,
        MemoryLedger(),
        clock=asyncio.get_running_loop().time,
        wall_clock=time.time,
        jitter=random.Random(1).random,
        settings=LoopSettings(runner=RunnerSettings(batch_size=8)),
        incarnation="i",
        on_step=steps.append,
    )
    await agent.open()
    running = asyncio.create_task(agent.run())
    found = []
    try:
        for revision, wanted in enumerate(STORY, 100):
            steps.clear()
            await agent.assign(assign_request(HOST, wanted, revision))
            await told_converged(agent, revision)
            by_vm: dict[Vm, list[Step]] = {}
            for step in steps:
                for index in step.indices:
                    by_vm.setdefault((step.kin, index), []).append(step)
            found.append(by_vm)
    finally:
        running.cancel()
        await asyncio.wait([running])
        for driver in reversed(drivers):
            await driver.close()
    return found


async def told_converged(agent: Agent, revision: int) -> None:
    reports = agent.open_reports(Term(1, 1), Pace(min_interval=0.01))
    try:
        async with asyncio.timeout(DEADLINE):
            while (report := await reports.next()) is not None:
                assert not report.problems, report.problems
                if report.converged and report.epoch.revision == revision:
                    return
    finally:
        agent.close_reports(reports)


@pytest.mark.parametrize("drivers", [slow_hollow, libvirt])
async def test_the_trace_is_that_of_an_instant_hollow_host(
    drivers: Callable[[Path], Drivers], tmp_path: Path
) -> None:
    expected = await traces(hollow(tmp_path))
    assert [len(vms) for vms in expected] == [12, 6, 12, 16, 12, 12, 10]
    assert await traces(drivers(tmp_path)) == expected
