"""Runs a plan through the drivers' ports: batches, admission, deadlines.

Removals run beside the bringing up, never behind it. A batch is cloned, then defined, then
booted; while one boots the next may be cloned. Nothing here knows which driver it talks to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.assignment import Assignment
from fleet_agent.core.model import REMOVALS, Batch, Mark, StepFailure, StepKind, StepResult, VmState
from fleet_agent.core.plan.plan import Plan, Step
from fleet_agent.drivers.ports.errors import DriverError, told_defect
from fleet_agent.drivers.ports.hypervisor import Hypervisor
from fleet_agent.drivers.ports.storage import Storage
from fleet_agent.reconcile.admission import Admission, Tokens
from fleet_agent.reconcile.host_slots import HostSlots, StartPace
from fleet_agent.reconcile.pipeline import Pipeline, Settled
from fleet_agent.reconcile.step_measures import StepMeasures


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


class RunListener(Protocol):
    """Hears what the runner does, as it does it."""

    def began(self, step: Step) -> None:
        """A step of one batch begins; failures of earlier steps are no longer in it."""

    def set_state(self, kin: Kin, indices: IndexSet, state: VmState) -> None: ...

    def booted(self, vms: int, seconds: float) -> None:
        """So many VMs are ready, so long after their start was called."""

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
        listener: RunListener,
        measures: StepMeasures | None = None,
        pace: StartPace | None = None,
    ) -> None:
        """`pace`: None: fleets' own slots are all that bounds their starts."""
        self._measures = measures
        self._pace = pace
        self._storage = storage
        self._hypervisor = hypervisor
        self._settings = settings
        self._clock = clock
        self._listener = listener
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

    def _pipelines(self, plan: Plan, assignment: Assignment, mark: Mark) -> list[Pipeline]:
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
                    Pipeline(self, batch, steps, cloning, defining, admissions[kin.fleet_uid])
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
        asked = {
            uid: assignment.specs[uid, kin.generation].admission for uid, kin in newest.items()
        }
        most = sum(one.parallel or 1 for one in asked.values())
        host = HostSlots(self._pace, sum(booting.values()), most)
        return {
            uid: Admission(
                one, booting[uid], self._tokens.setdefault(uid, Tokens(self._clock)), host
            )
            for uid, one in asked.items()
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
                self._listener.set_state(step.kin, indices, VmState.STOPPING)
                done = await self.perform(step, batch)
                kept[step.kin] = kept.get(step.kin, EMPTY) | (indices - done)

    async def perform(self, step: Step, batch: Batch, each: Settled | None = None) -> IndexSet:
        """One traced step over one batch: which indices are done."""
        self._listener.began(Step(step.kind, step.kin, batch.indices, step.reason))
        return await self.call(step.kind, batch, each)

    async def call(self, kind: StepKind, batch: Batch, each: Settled | None = None) -> IndexSet:
        """One driver call; `each` hears of indices as they are done or have failed. Those which
        the driver leaves out until its deadline fail with kind timeout, and with kind internal
        where it raises what no port may. Raises DriverError."""
        began = self._clock()
        left = batch.indices
        failed = EMPTY
        why, message = "timeout", "the driver ended without saying what became of it"
        try:
            async with asyncio.timeout(self._settings.deadline(batch, kind)):
                async for result in self._results(kind, batch):
                    bad = self._note(kind, batch.kin, result)
                    left, failed = left - result.done - bad, failed | bad
                    if each is not None:
                        each(result.done, bad)
        except TimeoutError:
            message = f"{kind} was not done within {self._settings.deadline(batch, kind):.0f} s"
        except DriverError:
            raise
        except Exception as error:
            why, message = "internal", told_defect(kind, error)
        if left:
            open_ones = tuple(StepFailure(index, why, message) for index in left)
            bad = self._note(kind, batch.kin, StepResult(EMPTY, open_ones))
            failed = failed | bad
            if each is not None:
                each(EMPTY, bad)
        if self._measures is not None:
            done = len(batch.indices) - len(failed)
            self._measures.called(kind, done, self._clock() - began)
        return batch.indices - failed

    def _note(self, kind: StepKind, kin: Kin, result: StepResult) -> IndexSet:
        """Which of them failed."""
        state = _STATE_AFTER.get(kind)
        if result.done and state is not None:
            self._listener.set_state(kin, result.done, state)
        if not result.failures:
            return EMPTY
        bad = IndexSet.of(failure.index for failure in result.failures)
        if self._measures is not None:
            self._measures.failed(kind, result.failures)
        self._listener.failed(kin, kind, result.failures)
        self._listener.set_state(kin, bad, _failed_state(kind))
        return bad

    def _results(self, kind: StepKind, batch: Batch) -> AsyncIterator[StepResult]:
        match kind:
            case StepKind.CLONE:
                return self._storage.clone(batch)
            case StepKind.DESTROY:
                return self._storage.destroy(batch)
            case StepKind.DEFINE:
                return self._hypervisor.define(batch, self._storage.disk)
            case StepKind.START:
                return self._hypervisor.start(batch)
            case StepKind.AWAIT_READY:
                return self._hypervisor.await_ready(batch)
            case StepKind.STOP:
                return self._hypervisor.stop(batch)
            case StepKind.UNDEFINE:
                return self._hypervisor.undefine(batch)

    def set_state(self, kin: Kin, indices: IndexSet, state: VmState) -> None:
        self._listener.set_state(kin, indices, state)

    def began(self, step: Step) -> None:
        self._listener.began(step)

    def now(self) -> float:
        return self._clock()

    def booted(self, vms: int, began: float) -> None:
        if not vms:
            return
        seconds = self._clock() - began
        self._listener.booted(vms, seconds)
        if self._measures is not None:
            self._measures.booted(vms, seconds)


def _failed_state(kind: StepKind) -> VmState:
    return VmState.STOPPING if kind in REMOVALS else VmState.FAILED


def batch_of(assignment: Assignment, kin: Kin, indices: IndexSet, mark: Mark) -> Batch:
    """A removal's spec may no longer be part of the assignment, and is not needed."""
    fleet = assignment.fleets[kin.fleet_uid]
    spec = assignment.specs.get((kin.fleet_uid, kin.generation)) or types.FleetSpec()
    return Batch(fleet, kin, spec, mark, indices, assignment.restarts(kin))
