"""Consoles of hollow guests: each says who it is, and answers as the smallest real guest does.

What a guest has printed follows from its name; while nobody looks, nothing is kept of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fleet_agent.core.console_log import INACTIVE, from_line_start, life_notice
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.ports.consoles import CannotType, Feed, NoSuchVm

# What a guest keeps of a line that is being typed.
LINE_BYTES = 256
# An active hollow guest has no id to be known by.
_ACTIVE = 1


def printed(name: str, index: int) -> bytes:
    """What a guest prints when it starts."""
    return (
        f"megafleet: a hollow guest, of no kernel\r\nmegafleet: ready name={name} index={index}\r\n"
    ).encode()


def answer(name: str, index: int, line: bytes) -> bytes:
    """What a guest prints when a line was typed."""
    asked = line.decode("utf-8", "replace").strip()
    if asked in ("", "id"):
        return f"name={name} index={index}\r\n".encode()
    return f"{name} knows no {ascii(asked)[1:-1]}; it answers to id\r\n".encode()


@dataclass(slots=True)
class _Guest:
    """A guest that somebody looks at."""

    name: str
    index: int
    active: bool
    feeds: list[Feed] = field(default_factory=list)
    line: bytearray = field(default_factory=bytearray)

    def show(self, data: bytes) -> None:
        for feed in self.feeds:
            feed.add_output(data)

    def typed(self, data: bytes) -> bytes:
        """What it prints of what is typed: the echo, and an answer to each line."""
        shown = bytearray()
        for byte in data:
            if byte in b"\r\n":
                shown += b"\r\n" + answer(self.name, self.index, bytes(self.line))
                self.line.clear()
            elif len(self.line) < LINE_BYTES and byte >= 0x20:
                self.line.append(byte)
                shown.append(byte)
        return bytes(shown)


class HollowConsoles:
    """The Consoles port over a hollow hypervisor."""

    def __init__(self, hypervisor: HollowHypervisor) -> None:
        self._hypervisor = hypervisor
        self._guests: dict[tuple[str, int], _Guest] = {}

    async def open(self, fleet_uid: str, index: int, feed: Feed, last_bytes: int) -> HollowConsole:
        name, active = self._found(fleet_uid, index)
        key = (fleet_uid, index)
        guest = self._guests.setdefault(key, _Guest(name, index, active))
        self._hypervisor.on_lives = self._note_lives
        guest.feeds.append(feed)
        if data := self._end(name, index, active, last_bytes):
            feed.add_output(data)
        return HollowConsole(self, key, guest, feed)

    async def last(self, fleet_uid: str, index: int, count: int) -> bytes:
        return self._end(*self._named(fleet_uid, index), count)

    async def close(self) -> None:
        for guest in self._guests.values():
            for feed in guest.feeds:
                feed.end()
        self._guests.clear()
        self._hypervisor.on_lives = None

    def close_feed(self, key: tuple[str, int], feed: Feed) -> None:
        guest = self._guests.get(key)
        if guest is None or feed not in guest.feeds:
            return
        guest.feeds.remove(feed)
        if not guest.feeds:
            del self._guests[key]
        if not self._guests:
            self._hypervisor.on_lives = None

    def _found(self, fleet_uid: str, index: int) -> tuple[str, bool]:
        found = self._hypervisor.find(fleet_uid, index)
        if found is None:
            raise NoSuchVm(f"this host has no VM of index {index} of fleet {fleet_uid[:40]!r}")
        return found

    def _named(self, fleet_uid: str, index: int) -> tuple[str, int, bool]:
        name, active = self._found(fleet_uid, index)
        return name, index, active

    @staticmethod
    def _end(name: str, index: int, active: bool, count: int) -> bytes:
        """A guest that never ran has printed nothing; one that ended is forgotten."""
        data = printed(name, index) if active else b""
        if len(data) <= count:
            return data
        return from_line_start(data[-count:]) if count else b""

    def _note_lives(self) -> None:
        """Something was started or has ended."""
        for (fleet_uid, index), guest in self._guests.items():
            found = self._hypervisor.find(fleet_uid, index)
            active = found is not None and found[1]
            if active == guest.active:
                continue
            before, after = (_ACTIVE if one else INACTIVE for one in (guest.active, active))
            guest.active = active
            guest.line.clear()
            for feed in guest.feeds:
                feed.add_notice(life_notice(guest.name, before, after))
            if active:
                guest.show(printed(guest.name, index))


class HollowConsole:
    """One reader's hold."""

    def __init__(
        self, consoles: HollowConsoles, key: tuple[str, int], guest: _Guest, feed: Feed
    ) -> None:
        self._consoles = consoles
        self._key = key
        self._guest = guest
        self._feed = feed

    @property
    def name(self) -> str:
        return self._guest.name

    async def type(self, data: bytes) -> None:
        self._check()
        self._guest.show(self._guest.typed(data))

    async def resize(self, rows: int, columns: int) -> None:
        self._check()

    def stop_typing(self) -> None:
        """Nothing is held for it."""

    def close(self) -> None:
        self._consoles.close_feed(self._key, self._feed)

    def _check(self) -> None:
        if not self._guest.active:
            raise CannotType(f"{self.name} does not run: nothing reads what is typed")
