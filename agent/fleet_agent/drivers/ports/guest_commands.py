"""The port behind which commands in guests look alike, however a guest is reached."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from fleet.guest_commands.answers import Answer
from fleet.ranges import IndexSet


@dataclass(frozen=True, slots=True)
class GuestCommand:
    """`seconds`: of each guest, from its turn on. `actor`: who asks. `user`: who runs it in the
    guest; empty: whoever is there."""

    line: str
    user: str
    seconds: float
    output_bytes: int
    actor: str = ""


class GuestCommands(Protocol):
    """Of one host."""

    def run(
        self, fleet_uid: str, indices: IndexSet, command: GuestCommand
    ) -> AsyncGenerator[tuple[IndexSet, Answer], None]:
        """Each index is in exactly one result, whatever goes wrong with its guest, and then the
        iterator ends. So many guests at once as the host can bear. No guest has longer than its
        seconds, and a little to be interrupted in. Leave it early only through
        contextlib.aclosing: what runs then is interrupted."""


class GuestAgents(Protocol):
    """Agents in guests, which run commands without a console."""

    async def run(self, fleet_uid: str, index: int, command: GuestCommand) -> Answer | None:
        """None: the guest has none, or it does not answer, and nothing was begun. What does not end
        in time, or is cancelled, is ended in the guest."""

    async def close(self) -> None: ...


# Why no guest of this index can be asked.
NO_SUCH_GUEST = "its host has no such VM"
NOT_RUNNING = "it does not run"
