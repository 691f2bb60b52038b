"""How the store is, looked at slowly by every replica, and told once when it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fleet_controller.events import EventLog
from fleet_controller.store.health import StoreHealth
from fleet_controller.store.port import Store

# A look is a status of each member and one read: nothing to a store, and soon enough for people.
INTERVAL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Look:
    """`at`: by the replica's clock."""

    health: StoreHealth
    at: float


class StoreHealthPoll:
    """Of one replica, whether it leads or not: who cannot lead for the store's sake must say so."""

    def __init__(self, store: Store, clock: Callable[[], float], events: EventLog) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self._wrong: Mapping[str, str] = {}
        self.last: Look | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._learn(await self._store.health())
            await asyncio.sleep(INTERVAL_SECONDS)

    def seconds_old(self) -> float:
        """Since the last look; 0 without one."""
        return self._clock() - self.last.at if self.last else 0.0

    def _learn(self, health: StoreHealth) -> None:
        self.last = Look(health, self._clock())
        before, self._wrong = self._wrong, health.states()
        for what, text in self._wrong.items():
            if what not in before:
                self._events.add("store_degraded", text)
        for what in before:
            if what not in self._wrong:
                self._events.add("store_mended", f"store: {what}: mended")
