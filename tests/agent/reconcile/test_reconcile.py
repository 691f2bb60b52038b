"""The agent's loop over hollow drivers, in virtual time."""

from __future__ import annotations

import asyncio

from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import Batch, Phase, StepKind, StepResult, VmState
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.hollow.profile import DOM0, Fault, Latency, Profile
from fleet_agent.reconcile.failures import BackOff
from fleet_agent.reconcile.loop import LoopSettings
from fleet_agent.reconcile.runner import RunnerSettings
from tests.agent.agent_host import (
    Host,
    converged,
    give,
    in_state,
    settled,
    until,
    with_settings,
)
from tests.doubles.assignments import assignment, indices, kin, shard, spec, tombstone
from tests.virtual_loop import virtual


async def ready(host: Host, birth: int) -> IndexSet:
    return (await host.snapshot()).phase(kin(birth), Phase.READY)


@virtual
async def test_an_assignment_comes_to_run() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-249", 10)), 10)
        assert await ready(host, 10) == indices("0-249")
        assert in_state(agent, kin(10), VmState.RUNNING) == indices("0-249")
    assert host.acts() == [
        "clone 0-249 of 10",
        "define 0-249 of 10",
        "start 0-249 of 10",
        "await_ready 0-249 of 10",
    ]


@virtual
async def test_growing_leaves_what_runs_alone() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-9", 10)), 10)
        host.steps.clear()
        await settled(agent, assignment(shard("0-9", 10), shard("10-11", 11)), 11)
    assert all(step.kin == kin(11) for step in host.steps)


@virtual
async def test_shrinking_removes_what_the_tombstone_names_and_acknowledges_it() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-9", 10)), 10)
        less = assignment(shard("0-4", 10), tombstones=[tombstone(3, "5-9", 10)])
        await settled(agent, less, 11)
        there = await host.snapshot()
        assert there.exists == {kin(10): indices("0-4")}
        assert agent.board.released == {3}
        await settled(agent, assignment(shard("0-4", 10)), 12)
        assert agent.board.released == frozenset()


@virtual
async def test_an_empty_assignment_destroys_nothing_and_names_the_orphans() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-9", 10)), 10)
        await settled(agent, assignment(), 11)
        assert await ready(host, 10) == indices("0-9")
        assert agent.board.orphans == {kin(10): indices("0-9")}


@virtual
async def test_an_orphan_that_ends_is_not_started_again() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-9", 10)), 10)
        await settled(agent, assignment(), 11)
        await host.lose_all()
        await asyncio.sleep(1000)
        assert await ready(host, 10) == EMPTY
        assert in_state(agent, kin(10), VmState.DEFINED) == indices("0-9")


@virtual
async def test_power_off_stops_and_keeps_the_clone_and_power_on_starts_it_again() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-9", 10)), 10)
        await settled(agent, assignment(shard("0-9", 10, on=False)), 11)
        there = await host.snapshot()
        assert there.phase(kin(10), Phase.DEFINED) == indices("0-9")
        assert there.clones == {kin(10): indices("0-9")}
        await settled(agent, assignment(shard("0-9", 10)), 12)
        assert await ready(host, 10) == indices("0-9")


@virtual
async def test_a_vm_that_dies_is_started_again_soon() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-9", 10)), 10)
        host.hollow.lose(kin(10).fleet_uid, indices("3"))
        await until(lambda: in_state(agent, kin(10), VmState.FAILED) == indices("3"), 1)
        await until(lambda: in_state(agent, kin(10), VmState.RUNNING) == indices("0-9"), 2)
        assert not agent.board.problems


@virtual
async def test_a_vm_that_dies_again_and_again_waits_longer_each_time() -> None:
    host = Host()
    loop = asyncio.get_running_loop()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0", 10)), 10)
        downtimes = []
        for _ in range(6):
            host.hollow.lose(kin(10).fleet_uid, indices("0"))
            await until(lambda: in_state(agent, kin(10), VmState.FAILED) == indices("0"), 2)
            since = loop.time()
            await until(lambda: in_state(agent, kin(10), VmState.RUNNING) == indices("0"), 99)
            downtimes.append(loop.time() - since)
        assert downtimes[-1] > 8 * downtimes[0]
        await asyncio.sleep(BackOff().forgiven_after + 300)
        host.hollow.lose(kin(10).fleet_uid, indices("0"))
        await until(lambda: in_state(agent, kin(10), VmState.FAILED) == indices("0"), 2)
        await until(lambda: in_state(agent, kin(10), VmState.RUNNING) == indices("0"), 2)


@virtual
async def test_a_whole_host_of_a_good_dom0_takes_a_minute() -> None:
    host = Host(profile=DOM0)
    loop = asyncio.get_running_loop()
    async with host.running() as agent:
        before = loop.time()
        template = spec(parallel=16)
        await settled(agent, assignment(shard("0-249", 10), template=template), 10)
        assert 40 <= loop.time() - before <= 60


class Counted(HollowHypervisor):
    """Counts the VMs between start and ready, and notes when each was started."""

    booting = 0
    most = 0

    def __init__(self, like: HollowHypervisor) -> None:
        super().__init__(like._behaviour)
        self.started: list[float] = []

    def _start(self, batch: Batch, indices: IndexSet) -> StepResult:
        self.booting += len(indices)
        self.most = max(self.most, self.booting)
        self.started += [asyncio.get_running_loop().time()] * len(indices)
        return super()._start(batch, indices)

    def _await_ready(self, batch: Batch, indices: IndexSet) -> StepResult:
        result = super()._await_ready(batch, indices)
        self.booting -= len(indices)
        return result


@virtual
async def test_never_more_boot_at_once_than_the_fleet_allows() -> None:
    host = with_settings(Host(profile=DOM0), runner=RunnerSettings(batch_size=10))
    counted = Counted(host.hollow)
    host.hypervisor = counted
    async with host.running() as agent:
        template = spec(parallel=7)
        await settled(agent, assignment(shard("0-59", 10), template=template), 10)
    assert counted.most == 7
    assert len(counted.started) == 60


@virtual
async def test_starts_keep_to_the_fleets_rate() -> None:
    host = Host()
    counted = Counted(host.hollow)
    host.hypervisor = counted
    async with host.running() as agent:
        template = spec(per_second=5.0)
        await settled(agent, assignment(shard("0-49", 10), template=template), 10)
    for first, later in zip(counted.started, counted.started[10:], strict=False):
        assert later - first >= 1.0


@virtual
async def test_a_passing_fault_is_retried_until_it_passes() -> None:
    fault = Fault(StepKind.CLONE, 0.3, "no_space", "the pool is full", attempts=3)
    host = Host(profile=Profile(faults=(fault,)))
    async with host.running() as agent:
        await give(agent, assignment(shard("0-249", 10)), 10)
        await until(lambda: bool(agent.board.problems))
        [problem] = agent.board.problems
        assert (problem.kind, problem.example_message) == ("no_space", "the pool is full")
        assert 40 < problem.count < 110
        assert len(in_state(agent, kin(10), VmState.FAILED)) == problem.count
        await until(lambda: in_state(agent, kin(10), VmState.RUNNING) == indices("0-249"), 60)
        assert not agent.board.problems


@virtual
async def test_a_lasting_fault_leaves_the_host_converged_and_is_tried_at_long_intervals() -> None:
    host = Host(profile=Profile(faults=(Fault(StepKind.START, 0.1, "kernel", "no such file"),)))
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-99", 10)), 10)
        failed = in_state(agent, kin(10), VmState.FAILED)
        assert 3 < len(failed) < 25
        assert in_state(agent, kin(10), VmState.RUNNING) == indices("0-99") - failed
        starts = len(host.steps)
        await asyncio.sleep(100)
        assert len(host.steps) == starts
        await asyncio.sleep(300)
        assert len(host.steps) > starts


@virtual
async def test_what_failed_for_good_is_tried_once_more_on_a_new_assignment() -> None:
    host = Host(profile=Profile(faults=(Fault(StepKind.CLONE, 1.0, "image_missing", "gone"),)))
    async with host.running() as agent:
        await settled(agent, assignment(shard("0", 10)), 10)
        host.steps.clear()
        await settled(agent, assignment(shard("0", 10)), 11)
        assert "clone 0 of 10" in host.acts()


@virtual
async def test_a_retry_tries_at_once_and_begins_the_back_off_anew() -> None:
    host = Host(profile=Profile(faults=(Fault(StepKind.START, 1.0, "no_memory", "x", 20),)))
    loop = asyncio.get_running_loop()

    def starts() -> int:
        return sum(step.kind is StepKind.START for step in host.steps)

    async with host.running() as agent:
        await settled(agent, assignment(shard("0", 10)), 10)
        await until(lambda: starts() == 7)  # waits for half a minute at least by now
        asked = loop.time()
        await settled(agent, assignment(shard("0", 10, retry=11)), 11)
        await until(lambda: starts() == 9)
        assert loop.time() - asked < 3
        await until(lambda: starts() == 14)
        asked = loop.time()
        await give(agent, assignment(shard("0", 10, retry=11)), 12)  # the same word again
        await until(lambda: starts() == 16)
        assert loop.time() - asked > 10


@virtual
async def test_a_removal_that_fails_is_retried_and_only_then_acknowledged() -> None:
    fault = Fault(StepKind.DESTROY, 1.0, "busy", "held open", attempts=2)
    host = Host(profile=Profile(faults=(fault,)))
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-4", 10)), 10)
        await give(agent, assignment(tombstones=[tombstone(1, "0-4", 10)]), 11)
        await until(lambda: bool(agent.board.problems))
        assert agent.board.released == frozenset()
        assert in_state(agent, kin(10), VmState.STOPPING) == indices("0-4")
        await until(lambda: agent.board.released == {1}, 60)


@virtual
async def test_removals_do_not_wait_for_slow_boots() -> None:
    slow = Profile(latency={StepKind.AWAIT_READY: Latency(base=500.0)})
    host = Host(profile=slow)
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-4", 10, on=False)), 10)
        both = assignment(shard("5-9", 11), tombstones=[tombstone(1, "0-4", 10)])
        await give(agent, both, 11)
        await asyncio.sleep(1)
        assert kin(10) not in (await host.snapshot()).exists


@virtual
async def test_a_new_assignment_does_not_wait_for_the_old_ones_boots() -> None:
    slow = Profile(latency={StepKind.AWAIT_READY: Latency(base=50.0)})
    host = Host(profile=slow)
    async with host.running() as agent:
        await give(agent, assignment(shard("0-4", 10)), 10)
        await asyncio.sleep(5)
        await give(agent, assignment(tombstones=[tombstone(1, "0-4", 10)]), 11)
        await asyncio.sleep(1)
        assert agent.board.released == {1}
        assert (await host.snapshot()).exists == {}


@virtual
async def test_the_audit_finds_what_no_event_told() -> None:
    host = with_settings(Host(), audit_interval=60.0)
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-9", 10)), 10)
        host.hollow._deactivate(kin(10), indices("4"))
        await until(lambda: in_state(agent, kin(10), VmState.FAILED) == indices("4"), 61)
        await converged(agent, 10)


@virtual
async def test_several_batches_and_kins_at_once() -> None:
    host = with_settings(Host(profile=DOM0), runner=RunnerSettings(batch_size=16))
    async with host.running() as agent:
        wanted = assignment(shard("0-49", 10), shard("50-99", 11), template=spec(parallel=20))
        await settled(agent, wanted, 10)
        assert await ready(host, 10) == indices("0-49")
        assert await ready(host, 11) == indices("50-99")
    assert max(len(step.indices) for step in host.steps) <= 16


def test_the_default_settings_do_not_depend_on_the_driver() -> None:
    assert LoopSettings().runner.batch_size == 256


@virtual
async def test_a_restart_is_done_once_in_admissions_pace_on_the_disks_that_are_there() -> None:
    slow = Profile(latency={StepKind.AWAIT_READY: Latency(base=5.0)})
    host = Host(slow)
    template = spec(parallel=3)
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-9", 10), template=template), 10)
        host.steps.clear()
        again = assignment(shard("0-9", 10, restart=11), template=template)
        await give(agent, again, 11)
        fewest = 10
        while not (agent.board.converged and agent.board.epoch == (1, 11)):
            fewest = min(fewest, len(await ready(host, 10)))
            await asyncio.sleep(0.1)
        assert fewest == 7, "no more down at once than may boot"
        assert await ready(host, 10) == indices("0-9")
        kinds = {step.kind for step in host.steps}
        assert kinds == {StepKind.STOP, StepKind.START, StepKind.AWAIT_READY}
        stopped = [step.indices for step in host.steps if step.kind is StepKind.STOP]
        assert sum(map(len, stopped)) == 10, "each once"
        host.steps.clear()
    async with host.running() as agent:
        await settled(agent, again, 12)
        assert host.steps == [], "an agent that begins anew knows that it was done"


@virtual
async def test_what_is_wanted_off_is_prepared_and_starts_when_it_is_wanted_on() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-4", 10, on=False)), 10)
        assert in_state(agent, kin(10), VmState.DEFINED) == indices("0-4")
        assert host.acts() == ["clone 0-4 of 10", "define 0-4 of 10"]
        host.steps.clear()
        await settled(agent, assignment(shard("0-4", 10)), 11)
        assert host.acts() == ["start 0-4 of 10", "await_ready 0-4 of 10"]
        host.steps.clear()
        split = assignment(shard("0-1", 10, on=False), shard("2-4", 10))
        await settled(agent, split, 12)
        assert host.acts() == ["stop 0-1 of 10"]
        assert in_state(agent, kin(10), VmState.RUNNING) == indices("2-4")
