"""Runs a batch's blocking acts in threads, one lane a VM, so that no two acts on one VM overlap.

A lane outlives the call that opened it: when an iteration is cancelled, acts not yet begun are
dropped, the one a thread has begun finishes, and the next call for that VM waits behind it.
An act may be for several VMs; it begins when it is first in the lanes of all of them. It enters
them all at once, so acts stand in the same order in every lane they share, and none can wait for
one that waits for it. All state belongs to the event loop's thread; worker threads only run acts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from contextlib import aclosing
from functools import partial

from fleet.ranges import IndexSet
from fleet_agent.core.model import StepFailure, StepResult
from fleet_agent.drivers.ports.errors import DriverError, told_defect

Act = Callable[[int], None]
"""What is done for one index, in a thread. Done when it returns. Raises ActFailed, DriverError."""


class ActFailed(Exception):
    """An act failed for one VM; becomes its StepFailure."""

    def __init__(self, kind: str, message: str, *, retry: bool = True) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry = retry

    def failure(self, index: int) -> StepFailure:
        return StepFailure(index, self.kind, str(self), self.retry)


ActFailures = Mapping[int, ActFailed]
PartAct = Callable[[IndexSet], ActFailures]
"""What is done for several indices, in a thread: all are done but those refused. Raises
DriverError."""


class Lanes:
    """The lanes of one driver. A lane is named after the VM, which is what acts collide on."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[_Job]] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    async def run(
        self, executor: Executor, name_of: Callable[[int], str], indices: Iterable[int], act: Act
    ) -> AsyncGenerator[StepResult, None]:
        """Run `act` for each index; results as they come, several indices in one when they are
        quick. An act's DriverError ends the iteration; any other error but ActFailed is a defect,
        and those VMs fail with kind internal."""
        parts = [IndexSet.of([index]) for index in indices]
        one_each = partial(_one_each, act)
        async with aclosing(self.run_parts(executor, name_of, parts, one_each)) as results:
            async for result in results:
                yield result

    async def run_parts(
        self,
        executor: Executor,
        name_of: Callable[[int], str],
        parts: Iterable[IndexSet],
        act: PartAct,
    ) -> AsyncGenerator[StepResult, None]:
        """The same with one act for each part of the indices, none of them empty."""
        ended: _Outcomes = asyncio.Queue()
        jobs = [
            _Job(
                tuple(map(name_of, part)),
                partial(executor.submit, act, part),
                partial(_note_outcome, ended, part),
            )
            for part in parts
        ]
        try:
            for job in jobs:
                self._enter(job)
            left = len(jobs)
            while left:
                outcomes = [await ended.get()]
                while not ended.empty():
                    outcomes.append(ended.get_nowait())
                left -= len(outcomes)
                yield _result(outcomes)
        finally:
            for job in jobs:
                self._drop(job)

    async def idle(self) -> None:
        """Wait until no act is running or waiting."""
        await self._empty.wait()

    def _enter(self, job: _Job) -> None:
        self._empty.clear()
        for name in job.lanes:
            lane = self._lanes.setdefault(name, deque())
            lane.append(job)
            job.behind += len(lane) > 1
        if not job.behind:
            self._begin(job)

    def _begin(self, job: _Job) -> None:
        loop = asyncio.get_running_loop()
        job.future = job.submit()
        job.future.add_done_callback(
            lambda future: loop.call_soon_threadsafe(self._end, job, future)
        )

    def _end(self, job: _Job, future: Future[ActFailures]) -> None:
        if not job.dropped:
            job.ended(future)
        self._leave(job)

    def _leave(self, job: _Job) -> None:
        """Make way in all lanes for those behind."""
        for name in job.lanes:
            lane = self._lanes[name]
            was_first = lane[0] is job
            lane.remove(job)
            if not lane:
                del self._lanes[name]
            elif was_first:
                lane[0].behind -= 1
                if not lane[0].behind:
                    self._begin(lane[0])
        if not self._lanes:
            self._empty.set()

    def _drop(self, job: _Job) -> None:
        """Forget a job whose outcome nobody awaits; one that a thread has begun goes on."""
        if job.dropped or job.has_ended:
            return
        job.dropped = True
        if job.future is not None:
            job.future.cancel()
        else:
            self._leave(job)


class _Job:
    __slots__ = ("behind", "dropped", "future", "has_ended", "lanes", "on_end", "submit")

    def __init__(
        self,
        lanes: tuple[str, ...],
        submit: Callable[[], Future[ActFailures]],
        on_end: Callable[[Future[ActFailures]], None],
    ) -> None:
        self.lanes = lanes
        self.submit = submit
        self.on_end = on_end
        self.behind = 0  # lanes in which another job is before this one
        self.future: Future[ActFailures] | None = None
        self.dropped = False
        self.has_ended = False

    def ended(self, future: Future[ActFailures]) -> None:
        self.has_ended = True
        self.on_end(future)


_Outcome = tuple[IndexSet, Future[ActFailures]]
_Outcomes = asyncio.Queue[_Outcome]


def _note_outcome(outcomes: _Outcomes, part: IndexSet, future: Future[ActFailures]) -> None:
    outcomes.put_nowait((part, future))


def _one_each(act: Act, part: IndexSet) -> ActFailures:
    refusals = {}
    for index in part:
        try:
            act(index)
        except ActFailed as refused:
            refusals[index] = refused
    return refusals


def _result(outcomes: list[_Outcome]) -> StepResult:
    """Raises the DriverError that an act has raised."""
    done, failures = [], []
    for part, future in outcomes:
        try:
            refusals = future.result()
        except DriverError:
            raise
        except Exception as error:
            failed = ActFailed("internal", told_defect("an act", error))
            refusals = dict.fromkeys(part, failed)
        done += [index for index in part if index not in refusals]
        failures += [refused.failure(index) for index, refused in refusals.items()]
    return StepResult(IndexSet.of(done), tuple(failures))
