"""How a template is made: QEMU boots a guest until it waits for its identity and is frozen."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fleet_agent.core.qemu.identity_message import WAITING, Heard, TooMuchSaid
from fleet_agent.core.qemu.machine import RAM_FILE, STATE_FILE, Emulator, Guest, Memory, Way
from fleet_agent.drivers.consoles.tail import last_lines
from fleet_agent.drivers.qemu.emulation import Emulation
from fleet_agent.drivers.qemu.folders import CONSOLE_LOG
from fleet_agent.drivers.qemu.monitor import Monitor, MonitorError, is_own_trouble
from fleet_agent.drivers.qemu.processes import (
    Process,
    connected,
    last_words,
    received,
    started,
)

# Seconds that a guest has to come to where it waits; a busy host emulates a boot in a minute.
BOOT_SECONDS = 180.0
# And its QEMU, to end.
QUIT_SECONDS = 30.0
# After its connection broke it is given so long to end, and to have said why.
END_SECONDS = 1.0
RECORD = "template.json"
_SPARE_BYTES = 16 << 20
# Of what QEMU says where a tmpfs has no room for the memory: util/oslib-posix.c.
_NO_MEMORY = "qemu_prealloc_mem"


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


async def make(
    making: Path, template: Template, emulation: Emulation, emulator: Emulator, guest: Guest
) -> None:
    """In the folder `making`, which becomes the template's. Raises CannotClone, MonitorError,
    OSError, TimeoutError."""
    await asyncio.to_thread(_room_for, making, guest.memory_bytes)
    state = os.open(making / STATE_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        memory = Memory(str(making / RAM_FILE))
        process = await asyncio.to_thread(
            started,
            making,
            f"template-{template.key[:8]}",
            lambda sockets: emulation.arguments(emulator, guest, Way.TEMPLATE, sockets, memory),
        )
        try:
            async with asyncio.timeout(BOOT_SECONDS):
                await _freeze(making, guest, state)
        except (MonitorError, TooMuchSaid, TimeoutError) as error:
            gone = await asyncio.to_thread(process.ends_within, END_SECONDS)
            said = last_words(making) if gone else ""
            if _NO_MEMORY in said:  # it took room that others have taken meanwhile
                said = _no_room(making.parent, guest.memory_bytes)
            late = f"it did not wait for an identity within {BOOT_SECONDS:.0f} s"
            raise CannotClone(
                said or str(error) or f"{late} ({last_lines(making / CONSOLE_LOG)})"
            ) from error
        finally:
            await _ended(process)
    finally:
        os.close(state)
    await asyncio.to_thread(_finish, making, template.folder)


def fault(template: Template, *, memory: bool) -> str:
    """Why it is of no use; empty where it is whole. `memory`: that is read through as well.
    Blocking. Raises OSError where that cannot be told."""
    try:
        record = msgspec.json.decode((template.folder / RECORD).read_bytes(), type=Record)
        about = os.stat(template.ram)
        if (about.st_size, about.st_mtime_ns) != (record.ram_bytes, record.ram_mtime_ns):
            return "its memory is not what was frozen"
        if _digest(template.state) != record.state_sha256:
            return "its state is damaged"
        if memory and _digest(template.ram) != record.ram_sha256:
            return "its memory is damaged"
    except FileNotFoundError:
        return "there is none"
    except msgspec.DecodeError as error:
        return f"it cannot be read: {error}"
    except OSError as error:
        if is_own_trouble(error):
            raise
        return f"it cannot be read: {error.strerror}"
    return ""


async def _freeze(making: Path, guest: Guest, state: int) -> None:
    """Waits until the guest waits; then its memory is in the file, and its state beside it."""
    told: asyncio.Queue[str] = asyncio.Queue()

    def hear(event: str, data: object) -> None:
        if event == "MIGRATION" and isinstance(data, dict):
            told.put_nowait(str(data.get("status")))

    monitor = Monitor(guest.name, hear)
    with connected(making, "identity") as port:
        try:
            await monitor.connect(making, guest.uuid)
            heard = Heard()
            while not heard.has(WAITING):
                data = await received(port)
                if not data:
                    raise MonitorError("")  # QEMU has ended, and says why
                heard.add(data)
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
    """A folder with the memory's file. Its room is taken by QEMU before it begins: what this agent
    took would be counted as its own memory, of which its unit has little. Raises CannotClone,
    OSError."""
    free = _free(folder.parent)
    if free < size + _SPARE_BYTES:
        raise CannotClone(_no_room(folder.parent, size))
    folder.mkdir(mode=0o711)
    ram = os.open(folder / RAM_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(ram, size)
    finally:
        os.close(ram)


def _free(folder: Path) -> int:
    about = os.statvfs(folder)
    return about.f_bavail * about.f_frsize


def _no_room(root: Path, size: int) -> str:
    return f"{root} has {_free(root) >> 20:,} MiB left, and a template takes {size >> 20} MiB"


def _finish(making: Path, folder: Path) -> None:
    ram, state = making / RAM_FILE, making / STATE_FILE
    for entry in os.listdir(making):
        if entry not in (RAM_FILE, STATE_FILE):
            os.unlink(making / entry)
    for file in (ram, state):
        file.chmod(0o400)
    about = os.stat(ram)
    record = Record(about.st_size, about.st_mtime_ns, _digest(state), _digest(ram))
    (making / RECORD).write_bytes(msgspec.json.encode(record))
    os.rename(making, folder)


def _digest(file: Path) -> str:
    with file.open("rb") as opened_file:
        return hashlib.file_digest(opened_file, "sha256").hexdigest()


async def _ended(process: Process) -> None:
    """Ends it, and waits for that."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(process.descriptor, ended.set)
    try:
        process.kill()
        async with asyncio.timeout(QUIT_SECONDS):
            await ended.wait()
    except TimeoutError as error:
        raise CannotClone(f"QEMU has not ended within {QUIT_SECONDS:.0f} s") from error
    finally:
        loop.remove_reader(process.descriptor)
        process.close()
