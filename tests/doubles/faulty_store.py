"""The store in memory behind a way that loses answers, holds requests back, or is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from enum import Enum, auto

from fleet_controller.store.health import StoreHealth
from fleet_controller.store.keys import EVENTS
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import (
    Change,
    Compacted,
    Delete,
    Guard,
    LeaseLost,
    Put,
    Snapshot,
    TxnResult,
    Unavailable,
    UnknownOutcome,
)

DEADLINE_SECONDS = 5.0
Request = tuple[Sequence[Guard], Sequence[Put | Delete]]


class Fault(Enum):
    """What becomes of one transaction."""

    ANSWER_LOST = auto()  # applied, and nobody is told
    REQUEST_LOST = auto()  # never applied, and nobody is told
    HELD_BACK = auto()  # as REQUEST_LOST, until `release`
    REFUSED = auto()  # Unavailable
    STUCK = auto()  # neither applied nor answered, for as long as a deadline is


class FaultyStore:
    """`faults`: of the next transactions, in order; None lets one pass. Those of events alone pass
    while `spares_events`: they come when they like."""

    durable = False
    description = "memory behind a bad wire"

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.faults: list[Fault | None] = []
        self.spares_events = True
        self.cut = False
        self.reads_fail = False
        self.compacts = False  # the next batch of a watch of everything is lost to a compaction
        self.txns: list[Request] = []  # all that were sent
        self.in_flight = self.most_in_flight = 0
        self._held: list[Request] = []

    async def read(self, prefix: str = "") -> Snapshot:
        if self.cut or self.reads_fail:
            raise Unavailable("the wire is cut")
        return await self.inner.read(prefix)

    async def txn(self, guards: Sequence[Guard], writes: Sequence[Put | Delete]) -> TxnResult:
        if self.cut:
            raise Unavailable("the wire is cut")
        self.txns.append((guards, writes))
        spared = self.spares_events and all(one.key.startswith(EVENTS) for one in writes)
        fault = self.faults.pop(0) if self.faults and not spared else None
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._answer(fault, guards, writes)
        finally:
            self.in_flight -= 1

    async def _answer(
        self, fault: Fault | None, guards: Sequence[Guard], writes: Sequence[Put | Delete]
    ) -> TxnResult:
        match fault:
            case None:
                return await self.inner.txn(guards, writes)
            case Fault.REFUSED:
                raise Unavailable("the disk is full")
            case Fault.STUCK:
                await asyncio.sleep(DEADLINE_SECONDS)
            case Fault.ANSWER_LOST:
                await self.inner.txn(guards, writes)
            case Fault.HELD_BACK:
                self._held.append((guards, writes))
        raise UnknownOutcome("no answer in time")

    async def release(self) -> list[bool]:
        """What was held back arrives after all; whether each was applied."""
        held, self._held = self._held, []
        return [await self._arrives(*request) for request in held]

    async def _arrives(self, guards: Sequence[Guard], writes: Sequence[Put | Delete]) -> bool:
        try:
            return (await self.inner.txn(guards, writes)).applied
        except LeaseLost:
            return False

    async def watch(self, prefix: str, after: int) -> AsyncIterator[tuple[Change, ...]]:
        async for batch in self.inner.watch(prefix, after):
            if self.compacts and not prefix:
                self.compacts = False
                raise Compacted(batch[-1].mod_revision)
            yield batch

    async def grant(self, ttl_seconds: int) -> int:
        return await self.inner.grant(ttl_seconds)

    async def keep_alive(self, lease: int) -> int:
        return await self.inner.keep_alive(lease)

    async def revoke(self, lease: int) -> None:
        await self.inner.revoke(lease)

    async def health(self) -> StoreHealth:
        return await self.inner.health()

    async def close(self) -> None:
        await self.inner.close()
