"""Runs a batch's blocking acts in threads, one lane a VM, so that no two acts on one VM overlap.

A lane outlives the call that opened it: when an iteration is cancelled, acts not yet begun are
dropped, the one a thread has begun finishes, and the next call for that VM waits behind it.
All state belongs to the event loop's thread; worker threads only run acts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import Executor, Future
from functools import partial

from fleet.ranges import IndexSet
from fleet_agent.core.model import StepFailure, StepResult

Act = Callable[[int], None]
"""What is done for one index, in a thread. Done when it returns; raises Refused or DriverError."""


class Refused(Exception):
    """An act failed for one VM; becomes its StepFailure."""

    def __init__(self, kind: str, message: str, *, retry: bool = True) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry = retry

    def failure(self, index: int) -> StepFailure:
        return StepFailure(index, self.kind, str(self), self.retry)


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
        quick. An act's DriverError, or any error but Refused, ends the iteration."""
        ended: _Outcomes = asyncio.Queue()
        jobs = [
            _Job(
                name_of(index),
                partial(executor.submit, act, index),
                partial(_put, ended, index),
            )
            for index in indices
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
        lane = self._lanes.setdefault(job.lane, deque())
        lane.append(job)
        self._empty.clear()
        if len(lane) == 1:
            self._begin(job)

    def _begin(self, job: _Job) -> None:
        loop = asyncio.get_running_loop()
        job.future = job.submit()
        job.future.add_done_callback(
            lambda future: loop.call_soon_threadsafe(self._end, job, future)
        )

    def _end(self, job: _Job, future: Future[None]) -> None:
        lane = self._lanes[job.lane]
        lane.popleft()
        if not job.dropped:
            job.ended(future.exception())
        if lane:
            self._begin(lane[0])
            return
        del self._lanes[job.lane]
        if not self._lanes:
            self._empty.set()

    def _drop(self, job: _Job) -> None:
        """Forget a job whose outcome nobody awaits; one that a thread has begun goes on."""
        job.dropped = True
        if job.future is not None:
            job.future.cancel()
        elif job.lane in self._lanes and job in self._lanes[job.lane]:
            self._lanes[job.lane].remove(job)


class _Job:
    __slots__ = ("dropped", "ended", "future", "lane", "submit")

    def __init__(
        self,
        lane: str,
        submit: Callable[[], Future[None]],
        ended: Callable[[BaseException | None], None],
    ) -> None:
        self.lane = lane
        self.submit = submit
        self.ended = ended
        self.future: Future[None] | None = None
        self.dropped = False


_Outcomes = asyncio.Queue[tuple[int, BaseException | None]]


def _put(outcomes: _Outcomes, index: int, error: BaseException | None) -> None:
    outcomes.put_nowait((index, error))


def _result(outcomes: list[tuple[int, BaseException | None]]) -> StepResult:
    done, failures = [], []
    for index, error in outcomes:
        if error is None:
            done.append(index)
        elif isinstance(error, Refused):
            failures.append(error.failure(index))
        else:
            raise error
    return StepResult(IndexSet.of(done), tuple(failures))
