"""Who is at which console: any number of readers a VM, and at most one who types."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from fleet_agent.drivers.ports.consoles import (
    CannotType,
    Console,
    Consoles,
    Feed,
    NoSuchVm,
    Piece,
)
from fleet_agent.drivers.ports.errors import DriverError, as_driver_errors

Key = tuple[str, int]  # fleet uid and index

# Bytes printed before that are shown, at most.
MAX_LAST_BYTES = 1024 * 1024
# Consoles open at once on a host; more are refused, so that no caller can take all of its memory.
MAX_SESSIONS = 4096


class TooManyReaders(Exception):
    """No further console can be opened on this host; one sentence."""


@dataclass(frozen=True, slots=True)
class ConsoleRequest:
    """How a console is to be opened. `last_bytes`: how much of what was printed before is shown."""

    read_only: bool = False
    take_over: bool = False
    last_bytes: int = 0
    actor: str = ""  # who opens it, for others who would type


class ConsoleSession:
    """One reader, who may be the writer. `open_session` makes it."""

    def __init__(
        self, desk: Desk, key: Key, feed: Feed, console: Console, read_only: bool, actor: str
    ) -> None:
        self.actor = actor
        self._desk = desk
        self._key = key
        self._feed = feed
        self._console = console
        self._read_only = read_only
        self._complained = ""

    @property
    def name(self) -> str:
        return self._console.name

    @property
    def writing(self) -> bool:
        """Whether what is typed here goes to the guest."""
        return self._desk.writer(self._key) is self

    async def next(self) -> Piece | None:
        """What comes next; None when nothing will."""
        return await self._feed.next()

    async def type(self, data: bytes) -> None:
        """Reaches the guest, or a notice says why not, once for the same reason."""
        if not self.writing:
            return
        try:
            await self.hand(data)
            self._complained = ""
        except (CannotType, DriverError) as error:
            if self.writing and str(error) != self._complained:
                self._complained = str(error)
                self._feed.add_notice(str(error))

    async def hand(self, data: bytes) -> None:
        """To the guest, while this session types. Raises CannotType, DriverError."""
        if self.writing:
            with as_driver_errors("type", CannotType):
                await self._console.type(data)

    async def resize(self, rows: int, columns: int) -> None:
        """The window of the one who types; a VM that does not run has none."""
        if not self.writing:
            return
        try:
            with as_driver_errors("resize", CannotType):
                await self._console.resize(rows, columns)
        except (CannotType, DriverError):
            # The next thing typed brings a notice.
            return

    def lose(self, notice: str) -> None:
        """Another types from now on."""
        with suppress(DriverError), as_driver_errors("stop_typing"):
            self._console.stop_typing()
        self._feed.add_notice(notice)

    def tell(self, notice: str) -> None:
        self._feed.add_notice(notice)

    def close(self) -> None:
        self._desk.left(self._key, self)
        with suppress(DriverError), as_driver_errors("close"):
            self._console.close()
        self._feed.end()


class Desk:
    """All sessions of a host."""

    def __init__(self, consoles: Consoles) -> None:
        self._consoles = consoles
        self._writers: dict[Key, ConsoleSession] = {}
        self._sessions = 0

    async def last(self, fleet_uid: str, index: int, count: int) -> bytes:
        """The end of what a VM has printed. Raises NoSuchVm, DriverError."""
        with as_driver_errors("last", NoSuchVm):
            return await self._consoles.last(fleet_uid, index, min(count, MAX_LAST_BYTES))

    async def open_session(
        self, fleet_uid: str, index: int, request: ConsoleRequest
    ) -> ConsoleSession:
        """The caller closes it. While another session types, this one only reads, and a notice says
        so. Raises NoSuchVm, TooManyReaders, DriverError."""
        if self._sessions >= MAX_SESSIONS:
            raise TooManyReaders(f"{MAX_SESSIONS} consoles of this host are open already")
        self._sessions += 1
        key, feed = (fleet_uid, index), Feed()
        try:
            last = min(request.last_bytes, MAX_LAST_BYTES)
            with as_driver_errors("open", NoSuchVm):
                console = await self._consoles.open(fleet_uid, index, feed, last)
        except BaseException:
            self._sessions -= 1
            raise
        session = ConsoleSession(self, key, feed, console, request.read_only, request.actor)
        if not request.read_only:
            self._seat(key, session, request.take_over)
        return session

    def writer(self, key: Key) -> ConsoleSession | None:
        return self._writers.get(key)

    def left(self, key: Key, session: ConsoleSession) -> None:
        self._sessions -= 1
        if self._writers.get(key) is session:
            del self._writers[key]

    def _seat(self, key: Key, session: ConsoleSession, take_over: bool) -> None:
        before = self._writers.get(key)
        if before is not None and not take_over:
            who = before.actor or "another session"
            session.tell(f"{who} types to {session.name}: reading only; --take-over takes it")
            return
        self._writers[key] = session
        if before is not None:
            before.lose(f"another session took over {session.name}: reading only from now on")
