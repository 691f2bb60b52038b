"""Follows the logs of all consoles that somebody reads: one task, one thread, no descriptor kept.

A log is another program's file, so looking again is the only way to learn of its growth; a look
is a stat, and opens the log only when it has changed. While nobody reads there is no task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from fleet_agent.alarm import Alarm
from fleet_agent.core.console_log import (
    FAST_PACE,
    INACTIVE,
    Place,
    life_notice,
    next_pace,
)
from fleet_agent.drivers.console_file import Glance, glance
from fleet_agent.drivers.consoles_port import Feed
from fleet_agent.drivers.ports import DriverError

# Seconds between two looks at which domains run: one call for all. A new log asks at once.
LIVES_INTERVAL = 2.0

Lives = Mapping[str, int]  # active domains: their ids by name


@dataclass(slots=True, eq=False)
class LogReader:
    """One reader of one log. `due`: when it is looked at next, in the loop's time."""

    name: str
    log: Path
    feed: Feed
    place: Place
    domain_id: int = INACTIVE
    pace: float = FAST_PACE
    due: float = 0.0


class Follower:
    """All readers of a host. `lives` lists the active domains; it blocks, and runs in `threads`
    as everything does that touches files. Raises DriverError."""

    def __init__(self, threads: Executor, lives: Callable[[], Lives]) -> None:
        self._threads = threads
        self._lives = lives
        self._lives_due = 0.0
        self._readers: set[LogReader] = set()
        self._alarm = Alarm()
        self._task: asyncio.Task[None] | None = None

    def add(self, reader: LogReader) -> None:
        self._readers.add(reader)
        self._alarm.ring()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._follow())

    def remove(self, reader: LogReader) -> None:
        self._readers.discard(reader)
        self._alarm.ring()

    def hurry(self, reader: LogReader) -> None:
        """Something was typed: an answer may come soon."""
        reader.pace = FAST_PACE
        reader.due = min(reader.due, asyncio.get_running_loop().time() + FAST_PACE / 2)
        self._alarm.ring()

    async def close(self) -> None:
        """Every reader's feed ends."""
        for reader in self._readers:
            reader.feed.end()
        self._readers.clear()
        self._alarm.ring()
        if self._task is not None:
            await self._task

    async def _follow(self) -> None:
        """Until nobody reads any more; an error ends all readers, never the agent."""
        try:
            while self._readers:
                await self._pass()
                due = min((reader.due for reader in self._readers), default=0.0)
                if self._readers:
                    await self._alarm.sleep(due - asyncio.get_running_loop().time())
        finally:
            for reader in self._readers:
                reader.feed.end()
            self._readers.clear()

    async def _pass(self) -> None:
        """Looks at those that are due, or nearly so: passes are dear, looks are cheap."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        due = [reader for reader in self._readers if reader.due <= now + FAST_PACE / 2]
        if not due:
            return
        asked = [(reader, reader.place, reader.feed.room) for reader in due]
        ask_lives = now >= self._lives_due
        seen, lives = await loop.run_in_executor(self._threads, self._look, asked, ask_lives)
        now = loop.time()
        for reader, found in seen:
            self._take(reader, found, lives, now)
        if lives is not None:
            self._lives_due = now + LIVES_INTERVAL
            self._tell_lives(self._readers, lives)

    def _look(
        self, asked: Iterable[tuple[LogReader, Place, int]], ask_lives: bool
    ) -> tuple[list[tuple[LogReader, Glance]], Lives | None]:
        """In a thread."""
        seen = [(reader, _glance(reader, place, room)) for reader, place, room in asked]
        if not ask_lives and not any(found.replaced for _, found in seen):
            return seen, None
        try:
            return seen, self._lives()
        except DriverError:
            # libvirtd is gone for a while: logs are read on, and nothing follows about domains.
            return seen, None

    def _take(self, reader: LogReader, found: Glance, lives: Lives | None, now: float) -> None:
        if reader not in self._readers:
            return
        reader.place = found.place
        reader.feed.tell(found.notice)
        if found.data:
            reader.feed.put(found.data)
        if found.replaced and lives is not None:
            self._tell_lives((reader,), lives)
        active = bool(found.data) or found.replaced
        reader.pace = next_pace(reader.pace, active)
        reader.due = now + reader.pace

    def _tell_lives(self, readers: Iterable[LogReader], lives: Lives) -> None:
        for reader in readers:
            after = lives.get(reader.name, INACTIVE)
            reader.feed.tell(life_notice(reader.name, reader.domain_id, after))
            reader.domain_id = after


def _glance(reader: LogReader, place: Place, room: int) -> Glance:
    if not room:
        return Glance(place)
    try:
        return glance(reader.log, place, room)
    except OSError as error:
        return Glance(place, notice=f"cannot read {reader.log}: {error.strerror}")
