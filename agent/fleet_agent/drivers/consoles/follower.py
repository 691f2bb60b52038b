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
    LogPosition,
    life_notice,
    next_pace,
)
from fleet_agent.drivers.consoles.file import Glance, glance
from fleet_agent.drivers.ports.consoles import Feed
from fleet_agent.drivers.ports.errors import DriverError, as_driver_errors

# Seconds between two looks at which domains run: one call for all. A new log asks at once.
LIVES_INTERVAL = 2.0
# A libvirtd that is busy for longer is asked again; logs are read on meanwhile.
LIVES_DEADLINE = 30.0

Lives = Mapping[str, int]  # active domains: their ids by name


@dataclass(slots=True, eq=False)
class LogReader:
    """One reader of one log. `due`: when it is looked at next, in the loop's time."""

    name: str
    log: Path
    feed: Feed
    place: LogPosition
    domain_id: int = INACTIVE
    pace: float = FAST_PACE
    due: float = 0.0


class Follower:
    """All readers of a host. `lives` lists the active domains, and raises DriverError. It may wait
    for libvirtd, and runs in `calls`; what touches files runs in `files`."""

    def __init__(self, files: Executor, calls: Executor, lives: Callable[[], Lives]) -> None:
        self._files = files
        self._calls = calls
        self._lives = lives
        self._readers: set[LogReader] = set()
        self._alarm = Alarm()
        self._begun = Alarm()  # a new log was seen
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
            # Somebody may have come while the last one's lives were given up.
            while self._readers:
                async with asyncio.TaskGroup() as group:
                    lives = group.create_task(self._follow_lives())
                    await self._follow_logs()
                    lives.cancel()
        finally:
            for reader in self._readers:
                reader.feed.end()
            self._readers.clear()

    async def _follow_logs(self) -> None:
        while self._readers:
            await self._pass()
            due = min((reader.due for reader in self._readers), default=0.0)
            if self._readers:
                await self._alarm.sleep(due - asyncio.get_running_loop().time())

    async def _pass(self) -> None:
        """Looks at those that are due, or nearly so: passes are dear, looks are cheap."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        due = [reader for reader in self._readers if reader.due <= now + FAST_PACE / 2]
        if not due:
            return
        asked = [(reader, reader.place, reader.feed.room) for reader in due]
        seen = await loop.run_in_executor(self._files, _look, asked)
        now = loop.time()
        for reader, found in zip(due, seen, strict=True):
            if reader in self._readers:
                self._take(reader, found, now)

    def _take(self, reader: LogReader, found: Glance, now: float) -> None:
        reader.place = found.place
        reader.feed.add_notice(found.notice)
        if found.data:
            reader.feed.add_output(found.data)
        if found.replaced:
            self._begun.ring()
        reader.pace = next_pace(reader.pace, active=bool(found.data) or found.replaced)
        reader.due = now + reader.pace

    async def _follow_lives(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._begun.sleep(LIVES_INTERVAL)
            known = {reader: reader.domain_id for reader in self._readers}
            try:
                async with asyncio.timeout(LIVES_DEADLINE):
                    with as_driver_errors("lives"):
                        lives = await loop.run_in_executor(self._calls, self._lives)
            except (DriverError, TimeoutError):
                # libvirtd is gone or busy: logs are read on, nothing follows about domains.
                continue
            for reader, before in known.items():
                reader.domain_id = after = lives.get(reader.name, INACTIVE)
                reader.feed.add_notice(life_notice(reader.name, before, after))


def _look(asked: Iterable[tuple[LogReader, LogPosition, int]]) -> list[Glance]:
    """In a thread."""
    return [_glance(reader, place, room) for reader, place, room in asked]


def _glance(reader: LogReader, place: LogPosition, room: int) -> Glance:
    if not room:
        return Glance(place)
    try:
        return glance(reader.log, place, room)
    except OSError as error:
        return Glance(place, notice=f"cannot read {reader.log}: {error.strerror}")
