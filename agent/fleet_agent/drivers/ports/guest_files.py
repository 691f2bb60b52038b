"""The port behind which files in guests look alike, however a guest is reached."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from fleet.guest_commands.answers import Answer
from fleet.ranges import IndexSet
from fleet.v1 import commands_pb2 as wire
from fleet.v1 import copies_pb2 as copies


@dataclass(frozen=True, slots=True)
class GuestFile:
    """`seconds`: of each guest, from its turn on. `digest`: SHA-256 of the content."""

    path: str
    mode: int
    content: bytes = field(repr=False)
    digest: bytes
    seconds: float

    @property
    def copied(self) -> Answer:
        """What a guest answers that has all of it, by what it has read back."""
        return Answer(wire.COMMAND_OUTCOME_COPIED, digest=self.digest)


@dataclass(frozen=True, slots=True)
class WantedFile:
    """`seconds`: of each guest, from its turn on, without those in which its parts are taken."""

    path: str
    most_bytes: int
    seconds: float


class NotTaken(Exception):
    """Nobody takes the parts any more: all of it ends. One sentence."""


# Returns when there is room for the next part. Raises NotTaken.
Take = Callable[[copies.FilePart], Awaitable[None]]


class GuestFiles(Protocol):
    """Of one host."""

    def put(
        self, fleet_uid: str, indices: IndexSet, file: GuestFile
    ) -> AsyncGenerator[tuple[IndexSet, Answer], None]:
        """Each index is in exactly one result, as of GuestCommands. A guest that has not all of the
        file in time, or in which it is not what was sent, keeps what it had at that path. Leave it
        early only through contextlib.aclosing: what is incomplete then is taken away."""

    def get(
        self, fleet_uid: str, indices: IndexSet, wanted: WantedFile, take: Take
    ) -> AsyncGenerator[tuple[IndexSet, Answer], None]:
        """Each index is in exactly one result, as of `put`. SENT comes after all parts of its
        file were taken; with any other, what was taken of it is no file. At most
        MOST_OPEN files are being taken at once. Nothing is changed in a guest.
        Raises NotTaken."""


# A guest without an agent that answers, or that does not run, or is not there.
NO_AGENT = Answer(wire.COMMAND_OUTCOME_NO_AGENT)
SENT = Answer(wire.COMMAND_OUTCOME_COPIED)
UNCHANGED = "nothing was changed"
LEFT_OVER = "an incomplete copy may be left beside it"
PERHAPS_PLACED = "whether the file is in its place is not known"
IS_FOLDER = "it has a folder of that name"
NO_FOLDER = "it has no such folder"
READ_ONLY = "its folder cannot be written"
NO_FILE = "it has no such file"
UNREADABLE = "the file cannot be read"
DIFFERS = "what it reads back is not what was sent"


def unanswered(reason: str) -> Answer:
    return Answer(wire.COMMAND_OUTCOME_NO_ANSWER, reason=reason)


def too_large(most_bytes: int) -> Answer:
    return Answer.failed(
        f"the file has more than {most_bytes:,} bytes, which is the most asked for"
    )
