"""The port behind which files in guests look alike, however a guest is reached."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol

from fleet.guest_commands.answers import Answer
from fleet.ranges import IndexSet
from fleet.v1 import commands_pb2 as wire


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


class GuestFiles(Protocol):
    """Of one host."""

    def put(
        self, fleet_uid: str, indices: IndexSet, file: GuestFile
    ) -> AsyncGenerator[tuple[IndexSet, Answer], None]:
        """Each index is in exactly one result, as of GuestCommands. A guest that has not all of the
        file in time, or in which it is not what was sent, keeps what it had at that path. Leave it
        early only through contextlib.aclosing: what is incomplete then is taken away."""


# A guest without an agent that answers, or that does not run, or is not there.
NO_AGENT = Answer(wire.COMMAND_OUTCOME_NO_AGENT)
UNCHANGED = "nothing was changed"
LEFT_OVER = "an incomplete copy may be left beside it"
PERHAPS_PLACED = "whether the file is in its place is not known"
IS_FOLDER = "it has a folder of that name"
NO_FOLDER = "it has no such folder"
READ_ONLY = "its folder cannot be written"
DIFFERS = "what it reads back is not what was sent"


def unanswered(reason: str) -> Answer:
    return Answer(wire.COMMAND_OUTCOME_NO_ANSWER, reason=reason)
