"""The Hypervisor port over two: what a template asks for decides which of them has its VMs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol, cast

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.model import Batch, DomainRun, StepResult
from fleet_agent.core.qemu.qemu_guest import wants_clone
from fleet_agent.drivers.ports.bridges import Interface
from fleet_agent.drivers.ports.hypervisor import Hypervisor, HypervisorFacts

Interfaces = Callable[[], Awaitable[Sequence[Interface]]]
Removal = Callable[[Batch], AsyncIterator[StepResult]]


class ClonesHypervisor(Hypervisor, Protocol):
    """One that knows at once what it has."""

    async def opened(self) -> None:
        """Raises DriverError."""

    def holds(self, kin: Kin, index: int, name: str) -> bool: ...


class HypervisorByStart:
    """`boots` has what boots, `clones` what is copied."""

    def __init__(self, boots: Hypervisor, clones: ClonesHypervisor) -> None:
        self._boots = boots
        self._clones = clones

    async def facts(self) -> HypervisorFacts:
        return await self._boots.facts()

    async def listing(self) -> tuple[DomainRun, ...]:
        # First the one that may have begun its listing before it was asked.
        booted = await self._boots.listing()
        cloned = await self._clones.listing()
        runs = (*booted, *cloned)
        return tuple(
            sorted(runs, key=lambda run: (run.kin, run.phase, run.restart, run.why, run.fallback))
        )

    def define(
        self, batch: Batch, disk_of: Callable[[Batch, int], Disk]
    ) -> AsyncIterator[StepResult]:
        return self._of(batch).define(batch, disk_of)

    def start(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._of(batch).start(batch)

    def await_ready(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._of(batch).await_ready(batch)

    def stop(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._removed(batch, self._boots.stop, self._clones.stop)

    def undefine(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._removed(batch, self._boots.undefine, self._clones.undefine)

    async def changes(self) -> AsyncIterator[None]:
        stirred = asyncio.Event()

        async def listen(changes: AsyncIterator[None]) -> None:
            async for _ in changes:
                stirred.set()

        async with asyncio.TaskGroup() as group:
            listening = [
                group.create_task(listen(one.changes())) for one in (self._boots, self._clones)
            ]
            try:
                while True:
                    await stirred.wait()
                    stirred.clear()
                    yield None
            finally:
                for one in listening:
                    one.cancel()

    async def close(self) -> None:
        try:
            await self._boots.close()
        finally:
            await self._clones.close()

    def _of(self, batch: Batch) -> Hypervisor:
        return self._clones if wants_clone(batch.spec) else self._boots

    async def _removed(
        self, batch: Batch, boots: Removal, clones: Removal
    ) -> AsyncIterator[StepResult]:
        """By who has it: what a template was once is not known of each VM that is to go."""
        await self._clones.opened()
        name_of = batch.fleet.domain_name
        copied = [
            index for index in batch.indices if self._clones.holds(batch.kin, index, name_of(index))
        ]
        cloned = IndexSet.of(copied) if copied else EMPTY
        for part, act in ((cloned, clones), (batch.indices - cloned, boots)):
            if part:
                acting = cast(AsyncGenerator[StepResult, None], act(replace(batch, indices=part)))
                async with aclosing(acting) as results:
                    async for result in results:
                        yield result


def both_interfaces(first: Interfaces, second: Interfaces) -> Interfaces:
    """Of the VMs of both."""

    async def interfaces() -> Sequence[Interface]:
        return (*await first(), *await second())

    return interfaces
