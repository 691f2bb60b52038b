"""Consoles of QEMU's processes: logs that QEMU writes for reading, its socket for typing.

A reader takes nothing from another. QEMU takes one connection: whoever types has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from fleet_agent.core.console_log import INACTIVE, LogPosition
from fleet_agent.drivers.consoles.file import end_of
from fleet_agent.drivers.consoles.follower import Follower, Lives, LogReader
from fleet_agent.drivers.ports.consoles import CannotType, Feed, NoSuchVm
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.qemu.folders import CONSOLE_LOG
from fleet_agent.drivers.qemu.hypervisor import QemuHypervisor
from fleet_agent.drivers.qemu.processes import connected
from fleet_agent.drivers.qemu.vms import Vm

# Seconds in which a guest must take what is typed.
PATIENCE = 5.0
_READ_BYTES = 64 * 1024


class QemuConsoles:
    """The Consoles port over the VMs of a driver."""

    def __init__(self, hypervisor: QemuHypervisor) -> None:
        self._hypervisor = hypervisor
        self._files = ThreadPoolExecutor(1, "qemu-console")
        self._follower = Follower(self._files, self._files, self._lives)

    async def open(self, fleet_uid: str, index: int, feed: Feed, last_bytes: int) -> QemuConsole:
        vm = await self._vm(fleet_uid, index)
        place, data = await self._end(vm, last_bytes)
        if data:
            feed.add_output(data)
        reader = LogReader(vm.name, self._log(vm), feed, place, life_of(vm))
        self._follower.add(reader)
        return QemuConsole(
            partial(self._vm, fleet_uid, index),
            self._hypervisor.vms.folders.of(vm.name),
            self._follower,
            reader,
        )

    async def last(self, fleet_uid: str, index: int, count: int) -> bytes:
        return (await self._end(await self._vm(fleet_uid, index), count))[1]

    async def close(self) -> None:
        await self._follower.close()
        self._files.shutdown(wait=False)

    async def _vm(self, fleet_uid: str, index: int) -> Vm:
        found = await self._hypervisor.find(fleet_uid, index)
        if found is None:
            raise NoSuchVm(f"this host has no VM of index {index} of fleet {fleet_uid[:40]!r}")
        return found

    async def _end(self, vm: Vm, count: int) -> tuple[LogPosition, bytes]:
        log = self._log(vm)
        try:
            look = asyncio.get_running_loop().run_in_executor(self._files, end_of, log, count)
            return await look
        except OSError as error:
            raise DriverError(
                f"cannot read {log}, the console log of {vm.name}: {error.strerror}"
            ) from error

    def _log(self, vm: Vm) -> Path:
        return self._hypervisor.vms.folders.of(vm.name) / CONSOLE_LOG

    def _lives(self) -> Lives:
        return {vm.name: life_of(vm) for vm in self._hypervisor.vms if vm.alive}


def life_of(vm: Vm) -> int:
    """What tells one life of a VM from the next."""
    return vm.process.pid if vm.process is not None and vm.alive else INACTIVE


class QemuConsole:
    """One reader's hold; the socket is open from what is typed first until another types."""

    def __init__(
        self,
        find: Callable[[], Awaitable[Vm]],
        folder: Path,
        follower: Follower,
        reader: LogReader,
    ) -> None:
        self._find = find
        self._folder = folder
        self._follower = follower
        self._reader = reader
        self._socket: socket.socket | None = None
        self._life = INACTIVE

    @property
    def name(self) -> str:
        return self._reader.name

    async def type(self, data: bytes) -> None:
        made = await self._opened()
        self._follower.hurry(self._reader)
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.get_running_loop().sock_sendall(made, data)
        except TimeoutError:
            self.stop_typing()
            raise CannotType(f"{self.name} does not read what is typed") from None
        except OSError as error:
            self.stop_typing()
            raise CannotType(f"the console of {self.name} is closed: {error.strerror}") from error
        self._follower.hurry(self._reader)

    async def resize(self, rows: int, columns: int) -> None:
        """A serial port has no word for it; that it could be typed to is seen all the same."""
        await self._opened()

    def stop_typing(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        self.stop_typing()
        self._follower.remove(self._reader)

    async def _opened(self) -> socket.socket:
        """Of the present life."""
        try:
            vm = await self._find()
        except NoSuchVm as error:
            raise CannotType(str(error)) from error
        life = life_of(vm)
        if life == INACTIVE:
            self.stop_typing()
            raise CannotType(f"{self.name} does not run: nothing reads what is typed")
        if self._socket is not None and self._life == life:
            return self._socket
        self.stop_typing()
        try:
            made = connected(self._folder, "console")
        except OSError as error:
            raise CannotType(
                f"cannot connect to the console of {self.name}: {error.strerror}"
            ) from error
        # What the guest prints is in the log; a socket that nobody reads would hold it up.
        asyncio.get_running_loop().add_reader(made, _pass_over, made)
        self._socket, self._life = made, life
        self._reader.domain_id = life
        return made


def _pass_over(opened: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        try:
            if opened.recv(_READ_BYTES):
                return
        except ConnectionError:
            pass
        asyncio.get_running_loop().remove_reader(opened)
