"""Templates: guests frozen where they wait for their identity, kept by use, in memory.

A template is a folder in a tmpfs with the guest's memory, the state of its devices and, written
last, a record of both. It is made by the first VM that needs it; all others wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from fleet_agent.core.qemu.identity_message import WAITING
from fleet_agent.core.qemu.machine import (
    RAM_FILE,
    STATE_FILE,
    Emulator,
    Guest,
    Memory,
    Way,
)
from fleet_agent.core.qemu.qemu_guest import template_of
from fleet_agent.drivers.qemu.emulation import Emulation
from fleet_agent.drivers.qemu.monitor import Monitor, MonitorError
from fleet_agent.drivers.qemu.processes import (
    Process,
    connected,
    last_words,
    opened,
    running,
    started,
)

log = structlog.get_logger()

# Seconds that a guest has to come to where it waits; a busy host emulates a boot in a minute.
BOOT_SECONDS = 180.0
# After one could not be made, the next VMs do not try again for so long.
AGAIN_SECONDS = 60.0
END_SECONDS = 1.0
_RECORD = "template.json"
_MAKING = ".making-"
_SPARE_BYTES = 16 << 20


class CannotClone(Exception):
    """There is no template to copy, and why; one sentence."""


class Record(msgspec.Struct, frozen=True):
    """What the files were when they were frozen."""

    ram_bytes: int
    ram_mtime_ns: int
    state_sha256: str
    ram_sha256: str


@dataclass(frozen=True, slots=True)
class Template:
    key: str
    folder: Path

    @property
    def ram(self) -> Path:
        return self.folder / RAM_FILE

    @property
    def state(self) -> Path:
        return self.folder / STATE_FILE


class Templates:
    """Those of one agent. `root`: in a tmpfs, this agent's alone."""

    def __init__(self, root: Path, emulation: Emulation, clock: Callable[[], float]) -> None:
        self.root = root
        self._emulation = emulation
        self._clock = clock
        self._locks: dict[str, asyncio.Lock] = {}
        self._refused: dict[str, tuple[float, str]] = {}
        self._checked: set[str] = set()  # whose memory was read through since the agent began

    def open(self) -> None:
        """What was begun by an agent that ended meanwhile is ended. Blocking. Raises OSError."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o711)
        for folder, pid in running(self.root).items():
            if folder.name.startswith(_MAKING) and (process := opened(pid)):
                process.kill()
                process.close()
        for entry in os.listdir(self.root):
            if entry.startswith(_MAKING):
                shutil.rmtree(self.root / entry, ignore_errors=True)

    def bytes(self) -> int:
        """Memory that they take."""
        total = 0
        with contextlib.suppress(OSError):
            for folder in self.root.iterdir():
                with contextlib.suppress(OSError):
                    total += os.stat(folder / RAM_FILE).st_size
        return total

    def keep(self, used: Iterable[str]) -> None:
        """Removes those that no VM is made of. What runs keeps what it shares. Blocking."""
        kept = {*used, *(key for key, lock in self._locks.items() if lock.locked())}
        with contextlib.suppress(OSError):
            for folder in self.root.iterdir():
                if folder.name.removeprefix(_MAKING) not in kept:
                    self.drop(folder.name)

    def drop(self, key: str) -> None:
        """One that a VM could not be made of, or that none is made of. Blocking."""
        self._checked.discard(key)
        shutil.rmtree(self.root / key, ignore_errors=True)

    async def get(self, key: str, emulator: Emulator, guest: Guest) -> Template:
        """Made first where need be. Raises CannotClone."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            template = Template(key, self.root / key)
            wrong = await asyncio.to_thread(self._fault, template)
            if not wrong:
                return template
            until, why = self._refused.get(key, (0.0, ""))
            if self._clock() < until:
                raise CannotClone(why)
            await asyncio.to_thread(self.drop, key)
            try:
                log.info("making a template", template=key, guest=guest.name, because=wrong)
                await self._make(template, emulator, template_of(guest))
            except (CannotClone, MonitorError, OSError, TimeoutError) as error:
                why = f"no template could be made: {_words(error)}"
                self._refused[key] = (self._clock() + AGAIN_SECONDS, why)
                raise CannotClone(why) from error
            self._checked.add(key)
            return template

    async def _make(self, template: Template, emulator: Emulator, guest: Guest) -> None:
        making = self.root / f"{_MAKING}{template.key}"
        shutil.rmtree(making, ignore_errors=True)
        await asyncio.to_thread(_room_for, making, guest.memory_bytes)
        begun = time.monotonic()
        try:
            state = os.open(making / STATE_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                memory = Memory(str(making / RAM_FILE))
                process = await asyncio.to_thread(
                    started,
                    making,
                    f"template-{template.key[:8]}",
                    lambda sockets: self._emulation.arguments(
                        emulator, guest, Way.TEMPLATE, sockets, memory
                    ),
                )
                try:
                    async with asyncio.timeout(BOOT_SECONDS):
                        await _freeze(making, guest, state)
                except (MonitorError, TimeoutError) as error:
                    gone = await asyncio.to_thread(process.ends_within, END_SECONDS)
                    said = last_words(making) if gone else ""
                    raise CannotClone(
                        said
                        or _words(error)
                        or f"it did not wait for an identity within "
                        f"{BOOT_SECONDS:.0f} s ({_console_end(making)})"
                    ) from error
                finally:
                    await _ended(process)
            finally:
                os.close(state)
            await asyncio.to_thread(_finish, making, template.folder)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
        log.info("template made", template=template.key, seconds=round(time.monotonic() - begun, 1))

    def _fault(self, template: Template) -> str:
        """Why it is of no use; empty where it is whole. Its memory is read through once."""
        try:
            record = msgspec.json.decode((template.folder / _RECORD).read_bytes(), type=Record)
            about = os.stat(template.ram)
            if (about.st_size, about.st_mtime_ns) != (record.ram_bytes, record.ram_mtime_ns):
                return "its memory is not what was frozen"
            if _digest(template.state) != record.state_sha256:
                return "its state is damaged"
            if template.key not in self._checked:
                if _digest(template.ram) != record.ram_sha256:
                    return "its memory is damaged"
                self._checked.add(template.key)
        except FileNotFoundError:
            return "there is none"
        except (OSError, msgspec.DecodeError) as error:
            return f"it cannot be read: {error}"
        return ""


async def _freeze(making: Path, guest: Guest, state: int) -> None:
    """Waits until the guest waits; then its memory is in the file, and its state beside it."""
    loop = asyncio.get_running_loop()
    told: asyncio.Queue[str] = asyncio.Queue()

    def hear(event: str, data: object) -> None:
        if event == "MIGRATION" and isinstance(data, dict):
            told.put_nowait(str(data.get("status")))

    monitor = Monitor(guest.name, hear)
    with connected(making, "identity") as port:
        try:
            await monitor.connect(making, guest.uuid)
            heard = b""
            while WAITING not in heard:
                data = await loop.sock_recv(port, 64)
                if not data:
                    raise MonitorError("")  # QEMU has ended, and says why
                heard = (heard + data)[-256:]
            await monitor.ask("stop")
            capabilities = [
                {"capability": name, "state": True} for name in ("x-ignore-shared", "events")
            ]
            await monitor.ask("migrate-set-capabilities", capabilities=capabilities)
            await monitor.ask("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
            await monitor.give_file("state", state)
            await monitor.ask("migrate", uri="fd:state")
            while (status := await told.get()) != "completed":
                if status in ("failed", "cancelled"):
                    raise MonitorError("QEMU could not save its state")
            with contextlib.suppress(MonitorError):
                await monitor.ask("quit")
        finally:
            await monitor.close()


def _room_for(folder: Path, size: int) -> None:
    """A folder with the memory's file, whose room is taken now: a tmpfs that is full later would
    end QEMU by a signal. Raises CannotClone, OSError."""
    about = os.statvfs(folder.parent)
    free = about.f_bavail * about.f_frsize
    if free < size + _SPARE_BYTES:
        raise CannotClone(
            f"{folder.parent} has {free >> 20:,} MiB left, and a template takes {size >> 20} MiB"
        )
    folder.mkdir(mode=0o711)
    ram = os.open(folder / RAM_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(ram, 0, size)
    finally:
        os.close(ram)


def _finish(making: Path, folder: Path) -> None:
    ram, state = making / RAM_FILE, making / STATE_FILE
    for entry in os.listdir(making):
        if entry not in (RAM_FILE, STATE_FILE):
            os.unlink(making / entry)
    for file in (ram, state):
        file.chmod(0o400)
    about = os.stat(ram)
    record = Record(about.st_size, about.st_mtime_ns, _digest(state), _digest(ram))
    (making / _RECORD).write_bytes(msgspec.json.encode(record))
    os.rename(making, folder)


def _digest(file: Path) -> str:
    with file.open("rb") as opened_file:
        return hashlib.file_digest(opened_file, "sha256").hexdigest()


def _console_end(folder: Path) -> str:
    from fleet_agent.drivers.consoles.tail import last_lines

    return last_lines(folder / "console.log")


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


async def _ended(process: Process) -> None:
    """Ends it, and waits for that."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(process.descriptor, ended.set)
    try:
        process.kill()
        await ended.wait()
    finally:
        loop.remove_reader(process.descriptor)
        process.close()
