"""One batch of VMs on its way up: cloned, defined, started as admission allows, and awaited.

While one batch boots the next is cloned: each holds its driver's lock for one step only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import Batch, StepKind, VmState
from fleet_agent.core.plan.plan import Step
from fleet_agent.reconcile.admission import Admission

# Hears of indices done, and of indices failed.
Settled = Callable[[IndexSet, IndexSet], None]


class Performer(Protocol):
    """Who carries out the steps."""

    def began(self, step: Step) -> None: ...

    def set_state(self, kin: Kin, indices: IndexSet, state: VmState) -> None: ...

    async def perform(self, step: Step, batch: Batch, each: Settled | None = None) -> IndexSet:
        """One traced step over one batch: which indices are done."""

    async def call(self, kind: StepKind, batch: Batch, each: Settled | None = None) -> IndexSet:
        """The same, untraced; `each` hears of indices as they are done or have failed."""

    def now(self) -> float:
        """Monotonic, in seconds."""

    def booted(self, vms: int, began: float) -> None:
        """So many are ready whose start was called then."""


class Pipeline:
    """One batch on its way up."""

    def __init__(
        self,
        runner: Performer,
        batch: Batch,
        steps: dict[StepKind, Step],
        cloning: asyncio.Lock,
        defining: asyncio.Lock,
        admission: Admission,
    ) -> None:
        self._runner = runner
        self._batch = batch
        self._steps = steps
        self._cloning = cloning
        self._defining = defining
        self._admission = admission

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Until the last of it is up; what can wait by itself does so in `group`."""
        lost = await self._stage(StepKind.CLONE, EMPTY, self._cloning, VmState.CLONING)
        lost = await self._stage(StepKind.DEFINE, lost, self._defining, None)
        start = self._part(StepKind.START, lost)
        ready = self._part(StepKind.AWAIT_READY, lost)
        if start:
            self._trace(StepKind.START, start)
        if ready:
            self._trace(StepKind.AWAIT_READY, ready)
        adopted = ready - start
        if adopted and start:
            group.create_task(self._await_ready(adopted))
        elif adopted:
            await self._await_ready(adopted)
        await self._boot(group, start)

    async def _stage(
        self, kind: StepKind, lost: IndexSet, lock: asyncio.Lock, state: VmState | None
    ) -> IndexSet:
        """What is lost after this step: its failures beside those of the steps before."""
        indices = self._part(kind, lost)
        if not indices:
            return lost
        async with lock:
            if state is not None:
                self._runner.set_state(self._batch.kin, indices, state)
            done = await self._runner.perform(self._steps[kind], self._of(indices))
        return lost | (indices - done)

    async def _boot(self, group: asyncio.TaskGroup, pending: IndexSet) -> None:
        """In waves, each as large as admission allows; the last one runs in this task."""
        while pending:
            wave = pending.lowest(await self._admission.acquire(len(pending)))
            pending = pending - wave
            if pending:
                group.create_task(self._wave(group, wave))
            else:
                await self._wave(group, wave)

    async def _wave(self, group: asyncio.TaskGroup, wave: IndexSet) -> None:
        """Start, and look for readiness of what has started while the rest still starts."""
        self._runner.set_state(self._batch.kin, wave, VmState.BOOTING)
        started: list[IndexSet] = []
        began = self._runner.now()

        def on_started(done: IndexSet, failed: IndexSet) -> None:
            self._admission.release(len(failed))
            if done and started:
                group.create_task(self._await_ready(started.pop(), began))
            if done:
                started.append(done)

        await self._runner.call(StepKind.START, self._of(wave), on_started)
        for last in started:
            await self._await_ready(last, began)

    async def _await_ready(self, indices: IndexSet, began: float | None = None) -> None:
        """Gives each VM's slot back when it is ready, or has failed. `began`: when its start was
        called; None: by an agent before this one."""

        def on_settled(done: IndexSet, failed: IndexSet) -> None:
            self._admission.release(len(done) + len(failed))
            if began is not None:
                self._runner.booted(len(done), began)

        await self._runner.call(StepKind.AWAIT_READY, self._of(indices), on_settled)

    def _part(self, kind: StepKind, lost: IndexSet) -> IndexSet:
        step = self._steps.get(kind)
        return (step.indices & self._batch.indices) - lost if step else EMPTY

    def _of(self, indices: IndexSet) -> Batch:
        batch = self._batch
        if indices.ranges == batch.indices.ranges:
            return batch
        return replace(batch, indices=indices)

    def _trace(self, kind: StepKind, indices: IndexSet) -> None:
        step = self._steps[kind]
        self._runner.began(Step(kind, step.kin, indices, step.reason))
