"""The port behind which every guest's console looks alike.

Any number of readers follow a console, each with a Feed of its own; whoever may type is decided
above (`fleet_agent.consoles`). Only a VM that carries our mark is opened.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

from fleet_agent.alarm import Alarm

# A feed holds so much; what comes beyond that waits in the log or, where there is none, is lost.
FEED_BYTES = 64 * 1024
# Notices that a reader has not fetched; the oldest go first.
FEED_NOTICES = 16


class NoSuchVm(Exception):
    """This host has no such VM of ours; one sentence."""


class CannotType(Exception):
    """What was typed does not reach the guest; one sentence. The next attempt may succeed."""


class Piece(NamedTuple):
    """What a reader gets: output of the guest, or a notice beside it."""

    data: bytes = b""
    notice: str = ""


class Feed:
    """What one reader has not fetched yet. One task fetches."""

    __slots__ = ("_alarm", "_ended", "_held", "_notices", "_pieces")

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._held = 0
        self._notices = 0
        self._ended = False
        self._alarm = Alarm()

    @property
    def room(self) -> int:
        """Bytes of output that it still takes."""
        return FEED_BYTES - self._held

    def add_output(self, data: bytes) -> None:
        """Output. What is beyond the room is lost, and the reader gets a notice."""
        kept, lost = data[: self.room], len(data) - self.room
        if kept:
            self._held += len(kept)
            self._add(Piece(data=kept))
        if lost > 0:
            self.add_notice(f"{lost:,} bytes of output were skipped here")

    def add_notice(self, notice: str) -> None:
        """A notice; the same one is not repeated while the first is unread."""
        if not notice or (self._pieces and self._pieces[-1].notice == notice):
            return
        if self._notices == FEED_NOTICES:
            self._pieces.remove(next(piece for piece in self._pieces if piece.notice))
            self._notices -= 1
        self._notices += 1
        self._add(Piece(notice=notice))

    def end(self) -> None:
        """Nothing comes after what is held."""
        self._ended = True
        self._alarm.ring()

    async def next(self) -> Piece | None:
        """The next piece, output joined; None after the end."""
        while not self._pieces:
            if self._ended:
                return None
            await self._alarm.sleep(None)
        first = self._pieces.popleft()
        if first.notice:
            self._notices -= 1
            return first
        joined = [first.data]
        while self._pieces and self._pieces[0].data:
            joined.append(self._pieces.popleft().data)
        data = b"".join(joined)
        self._held -= len(data)
        return Piece(data=data)

    def _add(self, piece: Piece) -> None:
        self._pieces.append(piece)
        self._alarm.ring()


class Console(Protocol):
    """One reader's hold on one VM's console."""

    @property
    def name(self) -> str:
        """The domain's."""

    async def type(self, data: bytes) -> None:
        """To the guest, in order, waiting until it takes it. Raises CannotType, DriverError."""

    async def resize(self, rows: int, columns: int) -> None:
        """The window of whoever types. The guest may not hear of it: Xen's console protocol has
        no word for it. Raises CannotType, DriverError."""

    def stop_typing(self) -> None:
        """Another types from now on; what typing took is let go."""

    def close(self) -> None:
        """Nothing goes into the feed any more."""


class Consoles(Protocol):
    """The consoles of one host."""

    async def open(self, fleet_uid: str, index: int, feed: Feed, last_bytes: int) -> Console:
        """Everything that the VM prints from now on goes into the feed, after the last bytes of
        what it has printed, from the start of a line. That it ends or is started is a notice,
        and following goes on into its next life. Takes a VM that does not run too.

        Raises NoSuchVm, DriverError.
        """

    async def last(self, fleet_uid: str, index: int, count: int) -> bytes:
        """The last bytes that the VM printed, from the start of a line. Raises NoSuchVm,
        DriverError."""

    async def close(self) -> None: ...
