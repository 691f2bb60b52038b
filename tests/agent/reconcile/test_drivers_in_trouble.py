"""Drivers that are silent, without effect, away, broken or hung: told, and tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fleet.ranges import IndexSet
from fleet_agent.core.model import Batch, CloneRun, DomainRun, Phase, StepResult, VmState
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.hollow.storage import HollowStorage
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.reconcile.runner import RunnerSettings
from tests.agent.agent_host import (
    Host,
    give,
    in_state,
    settled,
    until,
    with_settings,
)
from tests.doubles.assignments import assignment, indices, kin, shard
from tests.virtual_loop import virtual


async def ready(host: Host, birth: int) -> IndexSet:
    return (await host.snapshot()).phase(kin(birth), Phase.READY)


class Silent(HollowStorage):
    """Clones of odd indices never come back."""

    async def clone(self, batch: Batch) -> AsyncIterator[StepResult]:
        even = IndexSet.of(index for index in batch.indices if index % 2 == 0)
        yield self._clone(batch, even)
        await asyncio.Event().wait()


@virtual
async def test_what_a_driver_does_not_deliver_in_time_fails_with_timeout() -> None:
    runner = RunnerSettings(call_seconds=20, vm_seconds=1)
    host = with_settings(Host(), runner=runner)
    host.storage = Silent(host.hollow._behaviour)
    async with host.running() as agent:
        await give(agent, assignment(shard("0-9", 10)), 10)
        await until(lambda: bool(agent.board.problems), 31)
        [problem] = agent.board.problems
        assert (problem.kind, problem.count) == ("timeout", 5)
        assert in_state(agent, kin(10), VmState.RUNNING) == indices("0,2,4,6,8")


class Idle(HollowStorage):
    """Says that it has cloned, and has not."""

    def _clone(self, batch: Batch, indices: IndexSet) -> StepResult:
        return StepResult(indices)


@virtual
async def test_a_step_without_effect_is_a_failure_not_a_busy_loop() -> None:
    host = Host()
    host.storage = Idle(host.hollow._behaviour)
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-9", 10, on=False)), 10)
        assert [one.kind for one in agent.board.problems] == ["no_effect"]
        await asyncio.sleep(100)
        assert len(host.steps) < 20


class Absent(HollowHypervisor):
    """libvirtd is away for a while."""

    away = True

    async def listing(self) -> tuple[DomainRun, ...]:
        if self.away:
            raise DriverError("libvirtd does not answer")
        return await super().listing()


@virtual
async def test_a_driver_that_does_not_work_is_a_problem_and_is_tried_again() -> None:
    host = Host()
    host.hypervisor = absent = Absent(host.hollow._behaviour)
    async with host.running() as agent:
        await give(agent, assignment(shard("0-9", 10)), 10)
        await asyncio.sleep(300)
        [problem] = agent.board.problems
        assert (problem.kind, problem.example_message) == ("driver", "libvirtd does not answer")
        assert not agent.board.converged
        absent.away = False
        await until(lambda: agent.board.converged, 31)
        assert not agent.board.problems


class Breaking(HollowStorage):
    """The pool goes away in the middle of the first batch."""

    broken = False

    async def clone(self, batch: Batch) -> AsyncIterator[StepResult]:
        if not self.broken:
            self.broken = True
            yield self._clone(batch, batch.indices.lowest(3))
            raise DriverError("the pool is gone")
        yield self._clone(batch, batch.indices)


@virtual
async def test_a_driver_that_breaks_in_a_batch_loses_nothing() -> None:
    host = Host()
    host.storage = Breaking(host.hollow._behaviour)
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-9", 10)), 10)
        assert await ready(host, 10) == indices("0-9")


class Hung(HollowStorage):
    """Does not even list."""

    async def listing(self) -> tuple[CloneRun, ...]:
        await asyncio.Event().wait()
        return ()


@virtual
async def test_a_listing_that_hangs_is_a_problem_after_its_deadline() -> None:
    host = with_settings(Host(), listing_deadline=30.0)
    host.storage = Hung(host.hollow._behaviour)
    async with host.running() as agent:
        await until(lambda: bool(agent.board.problems), 31)
        assert "within 30 s" in agent.board.problems[0].example_message
