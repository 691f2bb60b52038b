"""An agent's ledger on a simulated disk."""

from __future__ import annotations

import asyncio

from fleet_agent.reconcile.ledger import LedgerBroken, LedgerFull, LedgerRecord

SAVE_SECONDS = 0.002


class LedgerDisk:
    """What of the ledger is on disk, whatever becomes of the agent."""

    def __init__(self) -> None:
        self.record: LedgerRecord | None = None
        self.full = False
        self.broken = False
        self.lost = 0  # how often

    def lose(self, *, broken: bool) -> None:
        """What was written is gone, and so is what was promised with it."""
        self.record, self.broken = None, broken
        self.lost += 1


class SimLedger:
    """One process's view of it. A record is on disk some moment before `save` returns."""

    def __init__(self, disk: LedgerDisk) -> None:
        self._disk = disk

    async def load(self) -> LedgerRecord | None:
        if self._disk.broken:
            self._disk.broken, self._disk.record = False, None
            raise LedgerBroken("the ledger is broken; it has been put aside")
        return self._disk.record

    async def save(self, record: LedgerRecord) -> None:
        await asyncio.sleep(SAVE_SECONDS)
        if self._disk.full:
            raise LedgerFull("no space left on device")
        self._disk.record = record
        await asyncio.sleep(SAVE_SECONDS)
