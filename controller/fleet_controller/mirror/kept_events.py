"""Events that outlive this leader, written to the store's ring: at a pace, and never in its way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fleet_controller.core.events.event_ring import FreshEvent, placed
from fleet_controller.events import EventLog
from fleet_controller.mirror.committer import Committer, Outdated
from fleet_controller.mirror.records import put_event
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store.port import StoreError
from fleet_controller.token_bucket import Rate, TokenBucket

# Transactions: what is told after a quiet while is written at once, and a leader that is killed
# takes nothing with it.
_PACE = Rate(per_second=1.0, burst=10.0)
# Events of one transaction.
_AT_ONCE = 60


InTurn = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]


class KeptEvents:
    """Of one leadership. `in_turn` calls what it is given while nobody else decides a change;
    `retry`: seconds between two tries of a store that does not answer."""

    def __init__(
        self,
        events: EventLog,
        state: ClusterState,
        committer: Committer,
        in_turn: InTurn,
        clock: Callable[[], float],
        retry: float,
    ) -> None:
        self._events = events
        self._state = state
        self._committer = committer
        self._in_turn = in_turn
        self._clock = clock
        self._retry = retry

    async def run(self) -> None:
        """Until cancelled."""
        seen, bucket = -1, TokenBucket()
        while True:
            if not self._events.unsaved:
                seen = await self._events.pulse.after(seen)
                continue
            if wait := bucket.take(1.0, self._clock(), _PACE):
                await asyncio.sleep(wait)
                continue
            try:
                await self._in_turn(self._write)
            except Outdated:
                pass
            except StoreError:
                await asyncio.sleep(self._retry)

    async def _write(self) -> None:
        unsaved = self._events.unsaved
        fresh: list[FreshEvent] = unsaved.first(min(_AT_ONCE, self._committer.max_writes))
        slots = placed(self._state.events.by_slot, fresh, self._state.events.broken_slots)
        await self._committer.write_one([put_event(slot, one) for slot, one in slots.items()])
        unsaved.saved(fresh)
