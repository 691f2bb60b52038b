"""Runs a plan through the drivers' ports: batches, admission, deadlines.

Removals run beside the bringing up, never behind it. A batch is cloned, then defined, then
booted; while one boots the next may be cloned. Nothing here knows which driver it talks to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.admission import Admission, Tokens
from fleet_agent.core.assignment import Assignment
from fleet_agent.core.model import Batch, Kin, Mark, StepFailure, StepResult, VmState
from fleet_agent.core.plan import REMOVALS, Plan, Step, StepKind
from fleet_agent.drivers.ports import Hypervisor, Storage


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """VMs in a batch, and the deadline of one driver call: base plus so much for each VM.

    A readiness wait has its spec's timeout on top. Seconds.
    """

    batch_size: int = 256
    call_seconds: float = 60.0
    vm_seconds: float = 5.0

    def deadline(self, batch: Batch, kind: StepKind) -> float:
        readiness = batch.spec.readiness.timeout_seconds if kind is StepKind.AWAIT_READY else 0.0
        return self.call_seconds + readiness + self.vm_seconds * len(batch.indices)


# Hears of indices done, and of indices failed.
Settled = Callable[[IndexSet, IndexSet], None]


class Progress(Protocol):
    """Hears what the runner does, as it does it."""

    def began(self, step: Step) -> None:
        """A step of one batch begins; failures of earlier steps are no longer in it."""

    def put(self, kin: Kin, indices: IndexSet, state: VmState) -> None: ...

    def failed(self, kin: Kin, kind: StepKind, failures: Iterable[StepFailure]) -> None: ...


_STATE_AFTER = {
    StepKind.DEFINE: VmState.DEFINED,
    StepKind.STOP: VmState.DEFINED,
    StepKind.AWAIT_READY: VmState.RUNNING,
}


class Runner:
    """Executes plans, one at a time. `run` may be cancelled at any point."""

    def __init__(
        self,
        storage: Storage,
        hypervisor: Hypervisor,
        settings: RunnerSettings,
        clock: Callable[[], float],
        progress: Progress,
    ) -> None:
        self._storage = storage
        self._hypervisor = hypervisor
        self._settings = settings
        self._clock = clock
        self._progress = progress
        self._tokens: dict[str, Tokens] = {}

    async def run(self, plan: Plan, assignment: Assignment, mark: Mark) -> None:
        """Raises DriverError, in an exception group, when a driver as a whole cannot work."""
        removals = [step for step in plan.steps if step.kind in REMOVALS]
        pipelines = self._pipelines(plan, assignment, mark)
        async with asyncio.TaskGroup() as group:
            jobs = [pipeline.run(group) for pipeline in pipelines]
            if removals:
                jobs.append(self._remove(removals, assignment, mark))
            # The first one runs in this task: one job alone, the usual case, costs no task.
            for job in jobs[1:]:
                group.create_task(job)
            if jobs:
                await jobs[0]

    def _pipelines(self, plan: Plan, assignment: Assignment, mark: Mark) -> list[_Pipeline]:
        by_kin: dict[Kin, dict[StepKind, Step]] = {}
        for step in plan.steps:
            if step.kind not in REMOVALS:
                by_kin.setdefault(step.kin, {})[step.kind] = step
        cloning, defining = asyncio.Lock(), asyncio.Lock()
        admissions = self._admissions(by_kin, assignment)
        pipelines = []
        for kin, steps in by_kin.items():
            everything = IndexSet.union_of(step.indices for step in steps.values())
            for indices in everything.batches(self._settings.batch_size):
                batch = batch_of(assignment, kin, indices, mark)
                pipelines.append(
                    _Pipeline(self, batch, steps, cloning, defining, admissions[kin.fleet_uid])
                )
        return pipelines

    def _admissions(
        self, by_kin: dict[Kin, dict[StepKind, Step]], assignment: Assignment
    ) -> dict[str, Admission]:
        """One a fleet, by its newest generation here; what only awaits readiness is booting."""
        booting: dict[str, int] = {}
        newest: dict[str, Kin] = {}
        for kin, steps in sorted(by_kin.items()):
            waits = steps.get(StepKind.AWAIT_READY)
            starts = steps.get(StepKind.START)
            adopted = (waits.indices if waits else EMPTY) - (starts.indices if starts else EMPTY)
            booting[kin.fleet_uid] = booting.get(kin.fleet_uid, 0) + len(adopted)
            newest[kin.fleet_uid] = kin
        return {
            uid: Admission(
                assignment.specs[uid, kin.generation].admission,
                booting[uid],
                self._tokens.setdefault(uid, Tokens(self._clock)),
            )
            for uid, kin in newest.items()
        }

    async def _remove(self, steps: list[Step], assignment: Assignment, mark: Mark) -> None:
        """Undefine before destroy, as the plan orders them."""
        kept: dict[Kin, IndexSet] = {}
        for step in steps:
            for part in step.indices.batches(self._settings.batch_size):
                indices = part - kept.get(step.kin, EMPTY)
                if not indices:
                    continue
                batch = batch_of(assignment, step.kin, indices, mark)
                self._progress.put(step.kin, indices, VmState.STOPPING)
                done = await self.perform(step, batch)
                kept[step.kin] = kept.get(step.kin, EMPTY) | (indices - done)

    async def perform(self, step: Step, batch: Batch, each: Settled | None = None) -> IndexSet:
        """One traced step over one batch: which indices are done."""
        self._progress.began(Step(step.kind, step.kin, batch.indices, step.reason))
        return await self.call(step.kind, batch, each)

    async def call(self, kind: StepKind, batch: Batch, each: Settled | None = None) -> IndexSet:
        """One driver call; `each` hears of indices as they are done or have failed. Those which
        the driver leaves out until its deadline fail with kind timeout."""
        results = self._results(kind, batch)
        left = batch.indices
        failed = EMPTY
        message = "the driver ended without saying what became of it"
        try:
            async with asyncio.timeout(self._settings.deadline(batch, kind)):
                async for result in results:
                    bad = self._note(kind, batch.kin, result)
                    left, failed = left - result.done - bad, failed | bad
                    if each is not None:
                        each(result.done, bad)
        except TimeoutError:
            message = f"{kind} was not done within {self._settings.deadline(batch, kind):.0f} s"
        if left:
            late = tuple(StepFailure(index, "timeout", message) for index in left)
            bad = self._note(kind, batch.kin, StepResult(EMPTY, late))
            failed = failed | bad
            if each is not None:
                each(EMPTY, bad)
        return batch.indices - failed

    def _note(self, kind: StepKind, kin: Kin, result: StepResult) -> IndexSet:
        """Which of them failed."""
        state = _STATE_AFTER.get(kind)
        if result.done and state is not None:
            self._progress.put(kin, result.done, state)
        if not result.failures:
            return EMPTY
        bad = IndexSet.of(failure.index for failure in result.failures)
        self._progress.failed(kin, kind, result.failures)
        self._progress.put(kin, bad, _failed_state(kind))
        return bad

    def _results(self, kind: StepKind, batch: Batch) -> AsyncIterator[StepResult]:
        match kind:
            case StepKind.CLONE:
                return self._storage.clone(batch)
            case StepKind.DESTROY:
                return self._storage.destroy(batch)
            case StepKind.DEFINE:
                return self._hypervisor.define(batch, self._storage.disk_path)
            case StepKind.START:
                return self._hypervisor.start(batch)
            case StepKind.AWAIT_READY:
                return self._hypervisor.await_ready(batch)
            case StepKind.STOP:
                return self._hypervisor.stop(batch)
            case StepKind.UNDEFINE:
                return self._hypervisor.undefine(batch)

    def put(self, kin: Kin, indices: IndexSet, state: VmState) -> None:
        self._progress.put(kin, indices, state)

    def began(self, step: Step) -> None:
        self._progress.began(step)


def _failed_state(kind: StepKind) -> VmState:
    return VmState.STOPPING if kind in REMOVALS else VmState.FAILED


def batch_of(assignment: Assignment, kin: Kin, indices: IndexSet, mark: Mark) -> Batch:
    """A removal's spec may no longer be part of the assignment, and is not needed."""
    fleet = assignment.fleets[kin.fleet_uid]
    spec = assignment.specs.get((kin.fleet_uid, kin.generation)) or types.FleetSpec()
    return Batch(fleet, kin, spec, mark, indices, assignment.restarts(kin))


class _Pipeline:
    """One batch on its way up."""

    def __init__(
        self,
        runner: Runner,
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
                self._runner.put(self._batch.kin, indices, state)
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
        self._runner.put(self._batch.kin, wave, VmState.BOOTING)
        started: list[IndexSet] = []

        def on_started(done: IndexSet, failed: IndexSet) -> None:
            self._admission.release(len(failed))
            if done and started:
                group.create_task(self._await_ready(started.pop()))
            if done:
                started.append(done)

        await self._runner.call(StepKind.START, self._of(wave), on_started)
        for last in started:
            await self._await_ready(last)

    async def _await_ready(self, indices: IndexSet) -> None:
        """Gives each VM's slot back when it is ready, or has failed."""

        def on_settled(done: IndexSet, failed: IndexSet) -> None:
            self._admission.release(len(done) + len(failed))

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
