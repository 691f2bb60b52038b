"""What an agent must not forget: its last assignment, the highest term, who and when it was."""

from __future__ import annotations

from typing import Protocol

import msgspec

from fleet.keys import NO_EPOCH, NO_TERM, Epoch, Term
from fleet.v1 import types_pb2 as types


class LedgerError(Exception):
    """The ledger cannot be read or written; one sentence."""


class LedgerFull(LedgerError):
    """There is no room to write it; what was written before still stands."""


class LedgerBroken(LedgerError):
    """What is there is not a whole ledger. It has been put aside."""


class LedgerRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """`assignment` is the last one accepted, serialised; empty before the first.

    `boot_id` is that of the dom0's boot during which it was accepted. `past`: tombstones of
    earlier ones, as `core.past_tombstones` has them, serialised. The seals came with the term, the
    epoch and the assignment; they are handed back with them, and mean nothing to an agent.
    """

    incarnation: str
    boot_id: str = ""
    term: Term = NO_TERM
    epoch: Epoch = NO_EPOCH
    assignment: bytes = b""
    past: bytes = b""
    term_seal: bytes = b""
    epoch_seal: bytes = b""
    assignment_seal: bytes = b""

    def term_message(self) -> types.Term:
        """The highest term, as it was told."""
        message = self.term.message()
        message.seal = self.term_seal
        return message

    def epoch_message(self) -> types.Epoch:
        """The assignment's epoch, as it was told."""
        message = self.epoch.message()
        message.seal = self.epoch_seal
        return message


class Ledger(Protocol):
    """Where a record survives the agent's process."""

    async def load(self) -> LedgerRecord | None:
        """None when there never was one. Raises LedgerBroken, LedgerError."""

    async def save(self, record: LedgerRecord) -> None:
        """On return it is durable. Raises LedgerFull or LedgerError: then the record before
        it stands."""


class MemoryLedger:
    """For hollow hosts, whose VMs live no longer than their process either."""

    def __init__(self) -> None:
        self._record: LedgerRecord | None = None

    async def load(self) -> LedgerRecord | None:
        return self._record

    async def save(self, record: LedgerRecord) -> None:
        self._record = record
