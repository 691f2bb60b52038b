"""A whole agent on two cores that are wanted more or less: how many VMs it has start at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from fleet.ranges import EMPTY
from fleet_agent.core.model import Batch, StepKind, StepResult, VmState
from fleet_agent.core.start_pace import COUNTED_SECONDS, Pressure
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.hollow.profile import Latency, Profile
from fleet_agent.reconcile.agent import Agent
from tests.agent.agent_host import Host, converged, give, in_state, settled, until
from tests.doubles.assignments import SPV, WEB, assignment, indices, kin, shard, spec
from tests.virtual_loop import virtual

# Each VM is ready two seconds after it was started.
BOOTS = Profile(latency={StepKind.AWAIT_READY: Latency(base=2.0)})


@dataclass
class Cores:
    """`share` of the time in which somebody waits for one, as a function of VMs that boot."""

    share: Callable[[int], float]
    agent: Agent | None = None
    waited: float = 0.0
    at: float = field(default=0.0)
    most: int = 0

    def booting(self) -> int:
        if self.agent is None:
            return 0
        return sum(len(in_state(self.agent, kin, VmState.BOOTING)) for kin in self.agent.board.kins)

    def read(self) -> Pressure:
        """What was waited since the last look, as if all of it had been as it is now."""
        now, share = asyncio.get_running_loop().time(), self.share(self.booting())
        self.waited += share * (now - self.at)
        self.at = now
        return Pressure(int(self.waited * 1e6), share)

    async def watch(self) -> None:
        while True:
            self.most = max(self.most, self.booting())
            await asyncio.sleep(0.02)


async def started(cores: Cores, vms: int, parallel: int) -> float:
    """Virtual seconds until all run."""
    host = Host(profile=BOOTS, pressure=cores.read)
    began = asyncio.get_running_loop().time()
    async with host.running() as agent:
        cores.agent = agent
        watching = asyncio.create_task(cores.watch())
        wanted = assignment(shard(f"0-{vms - 1}", 10), template=spec(parallel=parallel))
        await settled(agent, wanted, 10)
        watching.cancel()
        assert in_state(agent, kin(10), VmState.RUNNING) == indices(f"0-{vms - 1}")
    return asyncio.get_running_loop().time() - began


class NeverReady(HollowHypervisor):
    """No VM of one fleet is ever ready."""

    def await_ready(self, batch: Batch) -> AsyncIterator[StepResult]:
        return _nothing() if batch.fleet.uid == SPV.uid else super().await_ready(batch)


async def _nothing() -> AsyncIterator[StepResult]:
    await asyncio.Event().wait()
    yield StepResult(EMPTY)


@virtual
async def test_where_cpus_are_free_starts_rise_to_what_the_operator_allows_and_no_further() -> None:
    free = Cores(lambda booting: 0.1)
    assert await started(free, 250, parallel=32) < 30
    assert free.most == 32


@virtual
async def test_where_somebody_else_takes_all_cpus_vms_start_by_two_a_core_and_all_of_them() -> None:
    taken = Cores(lambda booting: 1.0)
    assert await started(taken, 20, parallel=32) < 30
    assert taken.most == 4


@virtual
async def test_an_operator_may_allow_fewer_than_two_a_core() -> None:
    free = Cores(lambda booting: 0.0)
    await started(free, 10, parallel=1)
    assert free.most == 1


@virtual
async def test_what_was_allowed_is_taken_back_when_others_come() -> None:
    """Cores are free for twenty seconds, and taken from then on."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    cores = Cores(lambda booting: 0.1 if loop.time() < began + 20 else 1.0)
    watching = asyncio.create_task(started(cores, 600, parallel=32))
    await until(lambda: cores.most == 32)
    await until(lambda: loop.time() > began + 30)
    cores.most = 0
    await watching
    assert 4 <= cores.most <= 8


@virtual
async def test_what_boots_at_once_comes_to_fill_the_cores_and_not_more() -> None:
    """Six boots fill the cores, since each waits for its disk for much of its time."""
    slow_disks = Cores(lambda booting: min(1.0, 0.12 * booting))
    await started(slow_disks, 60, parallel=32)
    assert 6 <= slow_disks.most <= 9


@virtual
async def test_a_kernel_that_tells_no_pressure_leaves_the_fixed_number() -> None:
    host = Host(profile=BOOTS, pressure=lambda: None)
    seen = Cores(lambda booting: 0.0)
    async with host.running() as agent:
        seen.agent = agent
        watching = asyncio.create_task(seen.watch())
        wanted = assignment(shard("0-99", 10), template=spec(parallel=32))
        await settled(agent, wanted, 10)
        watching.cancel()
    assert seen.most == 32


@virtual
async def test_a_fleet_whose_vms_are_never_ready_keeps_no_other_from_starting() -> None:
    """All CPUs are wanted, so that few may start: those that hang count for a while only."""
    taken = Cores(lambda booting: 1.0)
    host = Host(profile=BOOTS, pressure=taken.read)
    host.hypervisor = NeverReady(Behaviour.of(BOOTS))
    stuck = assignment(shard("0-9", 10), template=spec(parallel=32, timeout=3600))
    async with host.running() as agent:
        await give(agent, stuck, 10)
        await until(lambda: bool(in_state(agent, kin(10), VmState.BOOTING)))
        both = assignment(
            shard("0-9", 10), shard("0-2", 11, fleet=WEB),
            template=spec(parallel=32, timeout=3600),
        )  # fmt: skip
        await give(agent, both, 11)
        web = kin(11, fleet=WEB)
        await until(
            lambda: in_state(agent, web, VmState.RUNNING) == indices("0-2"),
            14 * COUNTED_SECONDS,
        )


@virtual
async def test_what_a_plan_anew_finds_booting_counts_on() -> None:
    taken = Cores(lambda booting: 1.0)
    host = Host(profile=BOOTS, pressure=taken.read)
    async with host.running() as agent:
        taken.agent = agent
        watching = asyncio.create_task(taken.watch())
        for revision in range(10, 30):
            wanted = assignment(shard("0-9", 10), template=spec(parallel=32))
            await give(agent, wanted, revision)
            await asyncio.sleep(0.2)
        await converged(agent, 29)
        watching.cancel()
        assert in_state(agent, kin(10), VmState.RUNNING) == indices("0-9")
    assert taken.most <= 4
