"""Consoles of guests that are shells of this machine, each on a terminal of its own: real echo,
real line ends, no VM."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
from contextlib import suppress

from fleet_agent.alarm import Alarm
from fleet_agent.drivers.ports.consoles import CannotType, Console, Feed, NoSuchVm

SHELL = ("/bin/sh", "-i")


class ShellConsoles:
    """The Consoles port. A guest that is `off` does not run; `prompts`: what a guest shows instead
    of having a shell."""

    def __init__(self, fleet_uid: str, *indices: int) -> None:
        self.fleet_uid = fleet_uid
        self.guests = {index: ShellGuest(f"spv-{index}") for index in indices}

    async def open(self, fleet_uid: str, index: int, feed: Feed, last_bytes: int) -> Console:
        guest = self._guest(fleet_uid, index)
        guest.feeds.append(feed)
        if last := guest.printed[-last_bytes:] if last_bytes else b"":
            feed.add_output(bytes(last))
        return ShellConsole(guest, feed)

    async def last(self, fleet_uid: str, index: int, count: int) -> bytes:
        return bytes(self._guest(fleet_uid, index).printed[-count:])

    async def close(self) -> None:
        for guest in self.guests.values():
            guest.end()

    def _guest(self, fleet_uid: str, index: int) -> ShellGuest:
        if fleet_uid != self.fleet_uid or index not in self.guests:
            raise NoSuchVm(f"there is no VM {index} of it")
        return self.guests[index]


class ShellGuest:
    def __init__(self, name: str) -> None:
        self.name = name
        self.feeds: list[Feed] = []
        self.printed = bytearray()
        self.typed = bytearray()
        self._pid = self._terminal = 0
        self._alarm = Alarm()

    def start(self, *command: str) -> None:
        """Of a shell, or of another program."""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            words = command or SHELL
            os.execve(words[0], words, {"PS1": "/ # ", "TERM": "vt102", "PATH": os.environ["PATH"]})
        os.set_blocking(self._terminal, False)
        asyncio.get_running_loop().add_reader(self._terminal, self._read)

    def show(self, data: bytes) -> None:
        self.printed += data
        self._alarm.ring()
        for feed in self.feeds:
            feed.add_output(data)

    async def has_printed(self, data: bytes) -> None:
        async with asyncio.timeout(20):
            while data not in self.printed:
                await self._alarm.sleep(None)

    async def type(self, data: bytes) -> None:
        if not self._pid:
            raise CannotType(f"{self.name} does not run: nothing reads what is typed")
        self.typed += data
        os.write(self._terminal, data)

    def end(self) -> None:
        if self._pid:
            asyncio.get_running_loop().remove_reader(self._terminal)
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._terminal)
            self._pid = 0

    def _read(self) -> None:
        with suppress(BlockingIOError):
            try:
                self.show(os.read(self._terminal, 65_536))
            except OSError:  # all that it printed was read
                asyncio.get_running_loop().remove_reader(self._terminal)


class ShellConsole:
    def __init__(self, guest: ShellGuest, feed: Feed) -> None:
        self._guest = guest
        self._feed = feed

    @property
    def name(self) -> str:
        return self._guest.name

    async def type(self, data: bytes) -> None:
        await self._guest.type(data)

    async def resize(self, rows: int, columns: int) -> None:
        """Nobody looks."""

    def stop_typing(self) -> None:
        """Nothing is held for it."""

    def close(self) -> None:
        if self._feed in self._guest.feeds:
            self._guest.feeds.remove(self._feed)
