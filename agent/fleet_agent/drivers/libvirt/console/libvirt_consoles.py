"""Consoles of domains of libvirt, Xen's and KVM's alike: logs for reading, the pty for typing.

What a guest prints is read from the log that xenconsoled or virtlogd writes, so that any number
of readers take nothing from one another and need no descriptor. Only whoever types has the slave
side of the pty open, and only for the life of the domain in which it was opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from lxml import etree

from fleet.identity import Fleet
from fleet_agent.core.console_log import INACTIVE, LogPosition
from fleet_agent.core.domain.domain_mark import parse_mark, parsed
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.drivers.consoles.file import end_of
from fleet_agent.drivers.consoles.follower import Follower, Lives, LogReader
from fleet_agent.drivers.consoles.tty import Tty
from fleet_agent.drivers.libvirt.binding import code_of, message_of
from fleet_agent.drivers.libvirt.connection import LibvirtConnection
from fleet_agent.drivers.libvirt.domains.found import HostPaths
from fleet_agent.drivers.ports.consoles import CannotType, Feed, NoSuchVm
from fleet_agent.drivers.ports.errors import DriverError

T = TypeVar("T")

# Seconds for one look at a VM or at its log: libvirtd may be busy with starts.
DEADLINE = 20.0
_OF_QEMU = frozenset(one.value for one in Flavour if one.is_qemu)


def tty_of(domain: etree._Element) -> str:
    """The slave of a domain's console, in its live XML; empty when there is none. libxl's driver
    has it from xenstore, QEMU's from QEMU."""
    for path in ("devices/console", "devices/serial"):
        for console in domain.iterfind(path):
            if tty := console.get("tty", ""):
                return tty
    return ""


@dataclass(frozen=True, slots=True)
class Subject:
    """A VM of ours as libvirt has it at the moment; `tty` is empty when it does not run."""

    name: str
    domain_id: int
    tty: str
    of_qemu: bool = False


class LibvirtConsoles:
    """The Consoles port over the connection of a driver."""

    def __init__(
        self,
        link: LibvirtConnection,
        host: HostPaths,
        *,
        tty: Callable[[etree._Element], str] = tty_of,
    ) -> None:
        """`tty` finds the slave in a live domain's XML."""
        self._link = link
        self._host = host
        self._tty = tty
        # Looking at files must not wait behind calls to libvirtd of those who open or type.
        self._files = ThreadPoolExecutor(1, "console-look")
        self._calls = ThreadPoolExecutor(1, "console-call")
        self._follower = Follower(self._files, self._calls, self._lives)

    async def open(self, fleet_uid: str, index: int, feed: Feed, last_bytes: int) -> LibvirtConsole:
        subject = await self._subject(fleet_uid, index)
        log = self._host.console(subject.name)
        place, data = await self._end(subject.name, last_bytes)
        if data:
            feed.add_output(data)
        reader = LogReader(subject.name, log, feed, place, subject.domain_id)
        self._follower.add(reader)
        return LibvirtConsole(partial(self._subject, fleet_uid, index), self._follower, reader)

    async def last(self, fleet_uid: str, index: int, count: int) -> bytes:
        subject = await self._subject(fleet_uid, index)
        return (await self._end(subject.name, count))[1]

    async def close(self) -> None:
        await self._follower.close()
        for pool in (self._files, self._calls):
            pool.shutdown(wait=False)

    async def _end(self, name: str, count: int) -> tuple[LogPosition, bytes]:
        log = self._host.console(name)
        try:
            return await _within(self._files, partial(end_of, log, count), f"read {log}")
        except OSError as error:
            raise DriverError(
                f"cannot read {log}, the console log of {name}: {error.strerror}"
            ) from error

    async def _subject(self, fleet_uid: str, index: int) -> Subject:
        find = partial(self._find, fleet_uid, index)
        return await _within(self._calls, find, "look up a VM in libvirt")

    def _find(self, fleet_uid: str, index: int) -> Subject:
        """Blocking. Raises NoSuchVm, DriverError."""
        unknown = NoSuchVm(f"this host has no VM of index {index} of fleet {fleet_uid[:40]!r}")
        try:
            # Of a fleet, its uid alone makes the UUIDs of its VMs.
            uuid = str(Fleet(fleet_uid, "", 0).domain_uuid(index))
        except ValueError:
            raise unknown from None
        binding = self._link.binding
        try:
            with self._link.talk() as connection:
                domain = connection.lookupByUUIDString(uuid)
                xml = parsed(domain.XMLDesc())
                marked = parse_mark(xml)
                if marked is None or (marked.kin.fleet_uid, marked.index) != (fleet_uid, index):
                    raise unknown
                active = domain.ID() != INACTIVE
                tty, of_qemu = self._tty(xml) if active else "", xml.get("type") in _OF_QEMU
                return Subject(domain.name(), domain.ID(), tty, of_qemu)
        except binding.libvirtError as error:
            if code_of(error) == binding.VIR_ERR_NO_DOMAIN:
                raise unknown from error
            raise DriverError(f"cannot look up {uuid} in libvirt: {message_of(error)}") from error

    def _lives(self) -> Lives:
        """Blocking. Raises DriverError."""
        flags = self._link.binding.VIR_CONNECT_LIST_DOMAINS_ACTIVE
        try:
            with self._link.talk() as connection:
                return {one.name(): one.ID() for one in connection.listAllDomains(flags)}
        except self._link.binding.libvirtError as error:
            raise DriverError(f"cannot list the active domains: {message_of(error)}") from error


async def _within(threads: Executor, act: Callable[[], T], what: str) -> T:
    """In a thread, within the deadline. Raises DriverError, and what the act does."""
    try:
        async with asyncio.timeout(DEADLINE):
            return await asyncio.get_running_loop().run_in_executor(threads, act)
    except TimeoutError as error:
        raise DriverError(f"could not {what} within {DEADLINE:.0f} s") from error


class LibvirtConsole:
    """One reader's hold; the pty is open from what is typed first until another types."""

    def __init__(
        self, find: Callable[[], Awaitable[Subject]], follower: Follower, reader: LogReader
    ) -> None:
        self._find = find
        self._follower = follower
        self._reader = reader
        self._tty: Tty | None = None
        self._tty_life = INACTIVE  # what the reader knew of the domain when it was opened
        self._stops = 0  # how often typing was ended from outside

    @property
    def name(self) -> str:
        return self._reader.name

    async def type(self, data: bytes) -> None:
        tty = await self._opened()
        self._follower.hurry(self._reader)
        try:
            await tty.write(data)
        except CannotType:
            self.stop_typing()
            raise
        self._follower.hurry(self._reader)

    async def resize(self, rows: int, columns: int) -> None:
        (await self._opened()).resize(rows, columns)

    def stop_typing(self) -> None:
        self._stops += 1
        if self._tty is not None:
            self._tty.close()
            self._tty = None

    def close(self) -> None:
        self.stop_typing()
        self._follower.remove(self._reader)

    async def _opened(self) -> Tty:
        """The pty of the present life."""
        if self._tty is not None and self._tty_life == self._reader.domain_id:
            return self._tty
        self.stop_typing()
        stops, subject = self._stops, await self._found()
        if subject.domain_id == INACTIVE:
            raise CannotType(f"{subject.name} does not run: nothing reads what is typed")
        tty = Tty(subject.tty, subject.name, drains=subject.of_qemu)
        try:
            # A pty's number is given to somebody else once its domain has ended: it is the
            # right one if the domain is still there after it was opened.
            if await self._found() != subject or self._stops != stops:
                raise CannotType(f"{subject.name} is changing; what was typed is dropped")
        except BaseException:
            tty.close()
            raise
        self._tty, self._tty_life = tty, self._reader.domain_id
        self._reader.domain_id = subject.domain_id
        return tty

    async def _found(self) -> Subject:
        try:
            return await self._find()
        except NoSuchVm as error:
            raise CannotType(str(error)) from error
