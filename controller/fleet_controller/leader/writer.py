"""The one way by which the leader changes the store: decided, checked and written in one turn.

What is written meanwhile by others makes a decision outdated; it is then made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from fleet_controller.change_deadline import check_change_deadline
from fleet_controller.leader.store_trust import StoreTrust
from fleet_controller.mirror.audit import Audit
from fleet_controller.mirror.committer import Committer, Outdated, parts
from fleet_controller.mirror.records import Write

Answer = TypeVar("Answer")
ATTEMPTS = 5


class ChangeWriter:
    """Of one leadership. `clock`: the leader's monotonic one, in seconds."""

    def __init__(
        self, committer: Committer, audit: Audit, trust: StoreTrust, clock: Callable[[], float]
    ) -> None:
        self._committer = committer
        self._trust = trust
        self._clock = clock
        self._changing = asyncio.Lock()  # one change at a time
        self.audited = audit.entry

    async def decide(
        self,
        once: Callable[[], Awaitable[Answer]],
        *,
        while_frozen: bool = False,
        attempts: int = ATTEMPTS,
    ) -> Answer:
        """Call `once`, which decides and writes, while nobody else does. It is called again when
        the store has moved on. Nothing is begun after the change deadline, nor (unless
        `while_frozen`) while the store is not trusted.

        Raises Refused, StoreError; Outdated when the last attempt was so as well.
        """
        async with self._changing:
            check_change_deadline(self._clock())
            if not while_frozen:
                self._trust.raise_unless_trusted()
            for _ in range(attempts - 1):
                try:
                    return await once()
                except Outdated:
                    continue
            return await once()

    async def write_one(self, writes: Sequence[Write], *, thawing: bool = False) -> None:
        """One transaction. Raises Outdated, StoreError."""
        await self._committer.write_one(writes, thawing=thawing)

    async def write(self, writes: Sequence[Write], *, thawing: bool = False) -> None:
        """In as few transactions as hold them. Raises Outdated, StoreError."""
        await self._committer.write(writes, thawing=thawing)

    def first_part(self, writes: Sequence[Write]) -> list[Write]:
        """Those that fit one transaction, from the start."""
        return parts(writes, self._committer.max_writes)[0]

    @property
    def max_writes(self) -> int:
        """Of one transaction."""
        return self._committer.max_writes

    def refuse_if_past(self, revision: int) -> None:
        """For what was decided from this revision of the state. Raises Outdated."""
        self._committer.refuse_if_past(revision)


def beside_their_lines(writes: Sequence[Write], lines: Sequence[Write]) -> list[Write]:
    """Each write with its line of the audit trail beside it: a cut into transactions parts none
    of them."""
    return [one for pair in zip(writes, lines, strict=True) for one in pair]
