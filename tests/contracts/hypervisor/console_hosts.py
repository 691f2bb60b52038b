"""Hosts to hold Consoles against: a hollow one, and domains of test:// with real ptys and logs.

What stands in for xenconsoled is a thread with a real pty and a real log for each guest, whose
guest says who it is and answers typed lines as the smallest real one does.
"""

from __future__ import annotations

import asyncio
import os
import select
import struct
import termios
import threading
import tty
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path
from typing import Protocol

from lxml import etree

from fleet.ranges import IndexSet
from fleet_agent.drivers.consoles.tail import set_aside
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.consoles import HollowConsoles, answer, printed
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.libvirt.console.libvirt_consoles import LibvirtConsoles
from fleet_agent.drivers.libvirt.hypervisor import LibvirtHypervisor
from fleet_agent.drivers.ports.consoles import Consoles, Feed
from fleet_agent.drivers.ports.hypervisor import Hypervisor
from tests.contracts.hypervisor.hypervisor_hosts import FLEET, LibvirtHost, batch, disk_of, gather

DEADLINE = 20.0


class ConsoleHost(Protocol):
    """A host with guests of FLEET."""

    consoles: Consoles

    async def define(self, *indices: int) -> None: ...

    async def start(self, index: int) -> None:
        """The guest runs, and has said who it is."""

    def end(self, index: int) -> None:
        """By itself, behind the agent's back."""

    async def close(self) -> None: ...


class HollowConsoleHost:
    def __init__(self, _folder: Path) -> None:
        self.driver = HollowHypervisor(Behaviour.of())
        self.consoles: Consoles = HollowConsoles(self.driver)

    async def define(self, *indices: int) -> None:
        await gather(self.driver.define(batch(IndexSet.of(indices)), disk_of))

    async def start(self, index: int) -> None:
        await gather(self.driver.start(batch(IndexSet.of([index]))))

    def end(self, index: int) -> None:
        self.driver.lose(FLEET.uid, IndexSet.of([index]))

    async def close(self) -> None:
        await self.consoles.close()


class Guest:
    """One life of a guest: its pty, as xenconsoled makes and holds it, and its log."""

    def __init__(self, index: int, log: Path) -> None:
        self.name = FLEET.domain_name(index)
        self.index = index
        self.log = log
        self.typed = bytearray()
        self._heard = threading.Condition()
        self.reads = True
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.tty = os.ttyname(self._slave)
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._run)
        self.print(printed(self.name, index))
        self._thread.start()

    def print(self, data: bytes) -> None:
        with self.log.open("ab") as log:
            log.write(data)

    @property
    def window(self) -> tuple[int, int]:
        rows, columns, _, _ = struct.unpack(
            "HHHH", ioctl(self._slave, termios.TIOCGWINSZ, b" " * 8)
        )
        return rows, columns

    def until_typed(self, count: int) -> bool:
        """Blocks until so many bytes have arrived."""
        with self._heard:
            return self._heard.wait_for(lambda: len(self.typed) >= count, DEADLINE)

    def stop(self) -> None:
        os.write(self._waker, b".")
        self._thread.join()
        for file in (self._master, self._slave, self._wake, self._waker):
            os.close(file)

    def stop_reading(self) -> None:
        self.reads = False
        os.write(self._waker, b",")

    def _run(self) -> None:
        line = b""
        while True:
            heard, _, _ = select.select([self._wake, *([self._master] * self.reads)], [], [])
            if self._wake in heard:
                if os.read(self._wake, 1) == b".":
                    return
                continue
            data = os.read(self._master, 1024)
            with self._heard:
                self.typed += data
                self._heard.notify_all()
            for byte in data.replace(b"\r", b"\n"):
                line += bytes((byte,))
                if byte == 10:
                    self.print(answer(self.name, self.index, line))
                    line = b""


class LibvirtConsoleHost:
    def __init__(self, folder: Path) -> None:
        self.host = LibvirtHost(folder)
        self.driver: LibvirtHypervisor = self.host.driver()
        self.guests: dict[str, Guest] = {}
        self.consoles: Consoles = LibvirtConsoles(
            self.driver.link, self.driver.host_paths, tty=self._tty
        )

    def log(self, index: int) -> Path:
        return self.driver.host_paths.console(FLEET.domain_name(index))

    def guest(self, index: int) -> Guest:
        return self.guests[FLEET.domain_name(index)]

    async def define(self, *indices: int) -> None:
        await gather(self.driver.define(batch(IndexSet.of(indices)), disk_of))

    async def start(self, index: int) -> None:
        set_aside(self.log(index))
        await gather(self.driver.start(batch(IndexSet.of([index]))))
        self.guests[FLEET.domain_name(index)] = Guest(index, self.log(index))

    def end(self, index: int) -> None:
        self.guests.pop(FLEET.domain_name(index)).stop()
        self.host.lose(index)

    async def close(self) -> None:
        await self.consoles.close()
        await self.driver.close()
        for guest in self.guests.values():
            guest.stop()

    def _tty(self, domain: etree._Element) -> str:
        guest = self.guests.get(domain.findtext("name") or "")
        return guest.tty if guest else ""


def hypervisor_of(host: ConsoleHost) -> Hypervisor:
    driver: Hypervisor = host.driver  # type: ignore[attr-defined]
    return driver


class Reader:
    """Collects what a feed gives."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.data = b""
        self.notices: list[str] = []

    async def until(self, wanted: bytes | str) -> None:
        """Until those bytes were read, or a notice with those words."""
        async with asyncio.timeout(DEADLINE):
            while not self._has(wanted):
                piece = await self.feed.next()
                assert piece is not None, "the feed has ended"
                self.data += piece.data
                self.notices += [piece.notice] if piece.notice else []

    def _has(self, wanted: bytes | str) -> bool:
        if isinstance(wanted, bytes):
            return wanted in self.data
        return any(wanted in notice for notice in self.notices)


CONSOLE_HOSTS: dict[str, Callable[[Path], ConsoleHost]] = {
    "hollow": HollowConsoleHost,
    "libvirt": LibvirtConsoleHost,
}
