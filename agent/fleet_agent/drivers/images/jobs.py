"""Runs imports and deletions of images in one thread, one after another, with their progress.

A job is blocking and plain. It is watched: it tells how far it is, and hears in the same call
that nobody wants it any more, upon which it removes what it has begun and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from fleet_agent.drivers.ports.images import PROGRESS_SECONDS, Image, ImportProgress

T = TypeVar("T")

WAITING = "waiting for another import"


class Abandoned(Exception):
    """Nobody waits for this job any more."""


class JobWatcher(Protocol):
    """Hears how far a job is, and says whether it is still wanted."""

    def progressed(self, step: str, done: int = 0, total: int = 0) -> None:
        """How far it is, in bytes; to be called more than once a second. Raises Abandoned."""


class _Ticket:
    """One job's progress, written by its thread and read by the event loop."""

    def __init__(self) -> None:
        self.latest = ImportProgress(WAITING)
        self.abandoned = threading.Event()

    def progressed(self, step: str, done: int = 0, total: int = 0) -> None:
        self.latest = ImportProgress(step, done, total)
        if self.abandoned.is_set():
            raise Abandoned(step)


class ImageJobs:
    """The thread of one adapter for what changes images, and another for looking."""

    def __init__(self, name: str) -> None:
        self._changing = ThreadPoolExecutor(1, name)
        self._looking = ThreadPoolExecutor(1, f"{name}-look")
        self._tickets: set[_Ticket] = set()

    async def read(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._looking, job)

    async def change(self, job: Callable[[], T]) -> T:
        """A short job, done to its end though the caller be cancelled."""
        return await asyncio.get_running_loop().run_in_executor(self._changing, job)

    async def watched(
        self, job: Callable[[JobWatcher], Image], seconds: float = PROGRESS_SECONDS / 2
    ) -> AsyncGenerator[ImportProgress, None]:
        """How far the job is, at least every so many seconds, and the image at the end.

        When the iteration is left, the job hears of it and ends by itself; the next job waits for
        it. Raises what the job raises.
        """
        ticket = _Ticket()
        self._tickets.add(ticket)
        future = self._changing.submit(job, ticket)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: self._ended(loop, ended))
        try:
            while not ended.is_set():
                yield ticket.latest
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), seconds)
            image = future.result()
            yield ImportProgress("done", image.size, image.size, image)
        finally:
            ticket.abandoned.set()
            future.cancel()
            self._tickets.discard(ticket)

    @staticmethod
    def _ended(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(ended.set)

    async def close(self) -> None:
        """Abandon what runs, and wait for its end."""
        for ticket in self._tickets:
            ticket.abandoned.set()
        for pool in (self._changing, self._looking):
            last: Future[None] = pool.submit(lambda: None)
            await asyncio.wrap_future(last)
            pool.shutdown(wait=False)
