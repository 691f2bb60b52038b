"""Upgrades by the command of the settings, with the release for its last word.

It is no child of the agent in more than name: it has a session of its own, and writes into a file,
since it will most likely restart the agent while it runs.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import structlog

from fleet.texts.release import RELEASE
from fleet_agent.upgrading.port import (
    BadRelease,
    UpgradeError,
    UpgradeNotSet,
    UpgradeUnderWay,
)

log = structlog.get_logger()

# What it said last, as far as it is read; characters of what is told of that.
_TAIL_BYTES = 4096
_LINE = 160


class CommandUpgrades:
    """`command`: run without a shell; empty: there is none. `said`: the file that it writes."""

    def __init__(self, command: Sequence[str], version: str, said: Path) -> None:
        self._command = tuple(command)
        self.version = version
        self._said = said
        self._to = ""
        self._running: asyncio.Task[str] | None = None

    async def upgrade(self, version: str) -> None:
        """Whoever asks for the same meanwhile waits for the same run of it."""
        if not RELEASE.fullmatch(version):
            raise BadRelease(f"{version[:40]!r} is not a release, such as 0.2.0")
        if version == self.version:
            return
        if not self._command:
            raise UpgradeNotSet("the settings of this agent name no upgrade_command")
        if self._running is None or self._running.done():
            self._to = version
            self._running = asyncio.create_task(self._run(version))
        elif version != self._to:
            raise UpgradeUnderWay(f"this agent is being upgraded to {self._to}")
        if why := await asyncio.shield(self._running):
            raise UpgradeError(why)

    async def _run(self, version: str) -> str:
        """Why it failed; empty: it did not."""
        log.info("upgrading", version=version, command=self._command[0])
        try:
            process = self._begin(version)
        except OSError as error:
            return f"{error.filename or self._command[0]}: {error.strerror}"
        try:
            await _ended(process.pid)
        except asyncio.CancelledError:
            process.returncode = 0  # it goes on alone, and Popen need not warn of that
            raise
        code = process.wait()
        log.info("the upgrade's command has ended", version=version, code=code)
        if not code:
            return ""
        ended = f"{self._command[0]} ended with {code}{self._last_line()}"
        return f"{ended}; {self._said} has all that it said"

    def _begin(self, version: str) -> subprocess.Popen[bytes]:
        """Not asyncio's: that kills its children when it ends. Raises OSError."""
        with self._said.open("wb") as said:
            return subprocess.Popen(
                [*self._command, version],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def _last_line(self) -> str:
        try:
            with self._said.open("rb") as said:
                said.seek(max(0, os.fstat(said.fileno()).st_size - _TAIL_BYTES))
                lines = said.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        if not lines:
            return ""
        return f": {''.join(filter(str.isprintable, lines[-1]))[:_LINE]}"


async def _ended(pid: int) -> None:
    """Return when the child has ended; it is not reaped."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    watched = os.pidfd_open(pid)
    try:
        loop.add_reader(watched, over.set)
        await over.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)
