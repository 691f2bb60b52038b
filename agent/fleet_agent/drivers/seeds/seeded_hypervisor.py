"""A hypervisor whose VMs are told who they are: a seed is there before its domain starts, and goes
when its domain is gone.

A seed is made only for what is defined already. So one that was there before the domains were
listed, and has none, is nobody's: it is swept with each listing, whatever became of its VM.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import cast

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.model import Batch, DomainRun, StepResult
from fleet_agent.drivers.ports.hypervisor import Hypervisor, HypervisorFacts
from fleet_agent.drivers.ports.seeds import Seeds


class SeededHypervisor:
    """The Hypervisor port over another one."""

    def __init__(self, hypervisor: Hypervisor, seeds: Seeds) -> None:
        self._hypervisor = hypervisor
        self._seeds = seeds

    async def facts(self) -> HypervisorFacts:
        return await self._hypervisor.facts()

    async def listing(self) -> tuple[DomainRun, ...]:
        before = await self._seeds.listing()
        domains = await self._hypervisor.listing()
        if before:
            defined: dict[Kin, IndexSet] = {}
            for run in domains:
                defined[run.kin] = defined.get(run.kin, EMPTY) | run.indices
            gone = [one for one in before if one.index not in defined.get(one.kin, EMPTY)]
            await self._seeds.remove(frozenset(gone))
        return domains

    def define(
        self, batch: Batch, disk_of: Callable[[Batch, int], Disk]
    ) -> AsyncIterator[StepResult]:
        return self._hypervisor.define(batch, disk_of)

    async def start(self, batch: Batch) -> AsyncIterator[StepResult]:
        left = batch
        if batch.spec.HasField("identity"):
            made = await self._seeds.make(batch)
            if made.failures:
                yield StepResult(EMPTY, made.failures)
            left = replace(batch, indices=made.done)
        if not left.indices:
            return
        starting = cast(AsyncGenerator[StepResult, None], self._hypervisor.start(left))
        async with aclosing(starting) as results:
            async for result in results:
                yield result

    def await_ready(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._hypervisor.await_ready(batch)

    def stop(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._hypervisor.stop(batch)

    def undefine(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._hypervisor.undefine(batch)

    def changes(self) -> AsyncIterator[None]:
        return self._hypervisor.changes()

    async def close(self) -> None:
        await self._hypervisor.close()
        await self._seeds.close()
