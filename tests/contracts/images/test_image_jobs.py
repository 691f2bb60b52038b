"""Imports as jobs: one at a time, watched, and ended with the programs they run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from fleet_agent.core.images import ImageName
from fleet_agent.drivers.images import tools as image_tools
from fleet_agent.drivers.images.jobs import WAITING, Abandoned, ImageJobs, JobWatcher
from fleet_agent.drivers.images.tools import ToolFailed
from fleet_agent.drivers.ports.images import Image, Space

SECONDS = 10  # longest wait of a thread for what a test is about to do
MADE = Image(ImageName("golden", "1"), "", 7, Space(), 0, 0.0, "")


@pytest.fixture
async def jobs() -> AsyncIterator[ImageJobs]:
    opened = ImageJobs("images")
    yield opened
    await opened.close()


class Held:
    """A job that says how far it is, and goes on when it is let."""

    def __init__(self) -> None:
        self.told = threading.Event()
        self.let = threading.Event()
        self.ended = ""

    def __call__(self, watcher: JobWatcher) -> Image:
        try:
            watcher.progressed("copying", 1, 2)
            self.told.set()
            assert self.let.wait(SECONDS)
            watcher.progressed("copying", 2, 2)
        except Abandoned:
            self.ended = "abandoned"
            raise
        self.ended = "done"
        return MADE


async def test_progress_is_told_again_and_again_while_nothing_changes(jobs: ImageJobs) -> None:
    held = Held()
    async with aclosing(jobs.watched(held, seconds=0.01)) as watched:
        await anext(watched)
        assert await asyncio.to_thread(held.told.wait, SECONDS)
        for _ in range(3):
            told = await anext(watched)
            assert (told.step, told.done, told.total) == ("copying", 1, 2)
        held.let.set()
        *_, last = [one async for one in watched]
    assert (last.image, last.done, last.total) == (MADE, 7, 7)


async def test_the_next_job_waits_for_one_that_nobody_watches_any_more(jobs: ImageJobs) -> None:
    first, second = Held(), Held()
    second.let.set()
    async with aclosing(jobs.watched(first)) as watched:
        await anext(watched)
        assert await asyncio.to_thread(first.told.wait, SECONDS)
    async with aclosing(jobs.watched(second, seconds=0.01)) as watched:
        assert (await anext(watched)).step == WAITING
        assert not second.told.is_set()
        first.let.set()
        *_, last = [one async for one in watched]
    assert (first.ended, second.ended, last.image) == ("abandoned", "done", MADE)


async def test_closing_ends_what_runs() -> None:
    jobs, held = ImageJobs("images"), Held()
    watched = jobs.watched(held)
    await anext(watched)
    assert await asyncio.to_thread(held.told.wait, SECONDS)
    closing = asyncio.create_task(jobs.close())
    await asyncio.sleep(0)
    held.let.set()
    await closing
    assert held.ended == "abandoned"
    with pytest.raises(Abandoned):
        [one async for one in watched]


def test_a_program_is_ended_with_its_import() -> None:
    said = []

    def told(words: bytes) -> None:
        said.append(words)
        if b"begun" in words:
            raise Abandoned

    script = f"echo begun; exec sleep {SECONDS * 60}"
    with pytest.raises(Abandoned):
        image_tools.run(["sh", "-c", script], told)
    assert said[-1] == b"begun\n"


def test_a_silent_program_is_looked_after_all_the_same() -> None:
    looks: list[bytes] = []

    def told(words: bytes) -> None:
        looks.append(words)
        if len(looks) == 3:
            raise Abandoned

    for silent in (f"exec sleep {SECONDS * 60}", f"exec >&-; exec sleep {SECONDS * 60}"):
        looks.clear()
        with pytest.raises(Abandoned):
            image_tools.run(["sh", "-c", silent], told)
        assert looks == [b""] * 3


def test_a_program_that_fails_is_told_by_its_last_words() -> None:
    with pytest.raises(ToolFailed, match=r"sh failed: the reason$"):
        image_tools.run(["sh", "-c", "echo first >&2; echo the reason >&2; exit 3"], lambda _: None)
