"""Templates: guests frozen where they wait for their identity, kept by use, in memory.

A template is a folder in a tmpfs with the guest's memory, the state of its devices and, written
last, a record of both. It is made by the first VM that needs it; all others wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from fleet_agent.core.qemu.machine import RAM_FILE, Emulator, Guest
from fleet_agent.core.qemu.qemu_guest import template_of
from fleet_agent.drivers.qemu import host_memory, template_making
from fleet_agent.drivers.qemu.emulation import Emulation
from fleet_agent.drivers.qemu.monitor import MonitorError
from fleet_agent.drivers.qemu.processes import opened, running
from fleet_agent.drivers.qemu.template_making import CannotClone, Template

log = structlog.get_logger()

# After one could not be made, the next VMs do not try again for so long.
AGAIN_SECONDS = 60.0
_MAKING, _GONE = ".making-", ".gone-"
# A QEMU that has become another user finds its template by name, and no other.
_MODE = 0o711


class Templates:
    """Those of one agent. `root`: in a tmpfs, this agent's alone; without it none is made."""

    def __init__(
        self,
        root: Path,
        emulation: Emulation,
        clock: Callable[[], float],
        shortage: Callable[[int], str],
    ) -> None:
        self.root = root
        self._emulation = emulation
        self._clock = clock
        self._shortage = shortage
        self._closed = f"{root} is not open"  # why none can be made
        self._opening = asyncio.Lock()
        self._locks: dict[str, asyncio.Lock] = {}
        self._refused: dict[str, tuple[float, str]] = {}
        self._checked: set[str] = set()  # whose memory was read through since the agent began

    async def open(self) -> None:
        """What was begun by an agent that ended meanwhile is ended. Once; anew where it failed."""
        async with self._opening:
            if not self._closed:
                return
            try:
                await asyncio.to_thread(self._clear)
                self._closed = ""
            except OSError as error:
                self._closed = f"templates cannot be kept in {self.root}: {error.strerror}"
                log.error("no VM can be cloned", why=self._closed)

    def _clear(self) -> None:
        """Blocking. Raises OSError."""
        self.root.mkdir(parents=True, exist_ok=True, mode=_MODE)
        about = os.lstat(self.root)
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
            raise PermissionError(0, "it is not this agent's alone; remove it")
        self.root.chmod(_MODE)  # a file system that was mounted there is open to all
        for entry in self.root.iterdir():
            if entry.lstat().st_uid != os.geteuid():
                raise PermissionError(0, f"{entry.name} in it is somebody else's; remove it")
        for folder, pid in running(self.root).items():
            if folder.name.startswith(_MAKING) and (process := opened(pid)):
                process.kill()
                process.close()
        for entry in self.root.iterdir():
            if entry.name.startswith((_MAKING, _GONE)):
                shutil.rmtree(entry, ignore_errors=True)

    def bytes(self) -> int:
        """Memory that they take."""
        total = 0
        for folder in self._folders():
            with contextlib.suppress(OSError):
                total += os.stat(folder / RAM_FILE).st_size
        return total

    def being_made(self) -> list[Path]:
        """Their folders."""
        return [folder for folder in self._folders() if folder.name.startswith(_MAKING)]

    async def keep(self, used: Iterable[str]) -> None:
        """Removes those that no VM is made of. What runs keeps what it shares."""
        kept = {*used, *(key for key, lock in self._locks.items() if lock.locked())}
        unused = [
            folder.name
            for folder in self._folders()
            if folder.name.removeprefix(_MAKING) not in kept
        ]
        await self.drop(*unused)

    async def drop(self, *names: str) -> None:
        """Those that a VM could not be made of, or that none is made of. They are gone at once;
        what they took is given back in a thread, since it may be gigabytes."""
        gone = []
        for name in names:
            self._checked.discard(name)
            aside = self.root / (
                name if name.startswith(_GONE) else f"{_GONE}{name}-{os.urandom(4).hex()}"
            )
            with contextlib.suppress(OSError):
                if aside.name != name:
                    os.rename(self.root / name, aside)
                gone.append(aside)
        if gone:
            await asyncio.to_thread(_remove, gone)

    def _folders(self) -> list[Path]:
        if self._closed:
            return []
        try:
            return list(self.root.iterdir())
        except OSError:
            return []

    async def get(self, key: str, emulator: Emulator, guest: Guest) -> Template:
        """Made first where need be. Raises CannotClone, OSError."""
        await self.open()  # where that has failed, somebody may have put it right
        if self._closed:
            raise CannotClone(self._closed)
        async with self._locks.setdefault(key, asyncio.Lock()):
            template = Template(key, self.root / key)
            unread = key not in self._checked
            wrong = await asyncio.to_thread(template_making.fault, template, memory=unread)
            if not wrong:
                self._checked.add(key)
                return template
            until, why = self._refused.get(key, (0.0, ""))
            if self._clock() < until:
                raise CannotClone(why)
            if short := self._shortage(guest.memory_bytes + host_memory.QEMU_BYTES):
                raise CannotClone(f"no template is made: {short}")
            log.info("making a template", template=key, guest=guest.name, because=wrong)
            begun = time.monotonic()
            try:
                await self._make(template, emulator, guest)
            except (CannotClone, MonitorError, OSError, TimeoutError) as error:
                why = f"no template could be made: {_words(error)}"
                self._refused[key] = (self._clock() + AGAIN_SECONDS, why)
                raise CannotClone(why) from error
            self._checked.add(key)
            log.info("template made", template=key, seconds=round(time.monotonic() - begun, 1))
            return template

    async def _make(self, template: Template, emulator: Emulator, guest: Guest) -> None:
        making = self.root / f"{_MAKING}{template.key}"
        await self.drop(template.key, making.name)
        try:
            await template_making.make(
                making, template, self._emulation, emulator, template_of(guest)
            )
        except BaseException:
            await self.drop(making.name)
            raise


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _words(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
