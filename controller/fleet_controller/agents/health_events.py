"""Changes of hosts' health, as events: one each when few, one for all when many at once."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from fleet_controller.core.model import Health
from fleet_controller.events import EventLog

_GATHER_SECONDS = 1.0


class HealthEvents:
    """Gathers changes of health for a second before it adds events."""

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._fresh: dict[Health, dict[str, str]] = defaultdict(dict)
        self._some = asyncio.Event()

    def note(self, host_id: str, health: Health, why: str) -> None:
        """A host is in another state, with the reason when there is one."""
        self._fresh[health][host_id] = why
        self._some.set()

    async def summarise_for_ever(self) -> None:
        """Until cancelled."""
        while True:
            await self._some.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._some.clear()
            self.summarise()

    def summarise(self) -> None:
        """Turn what was gathered into events."""
        for health, hosts in self._fresh.items():
            word, first = health.name.lower(), next(iter(hosts))
            messages = {
                host: f"{host} is {word}" + (f": {why}" if why else "")
                for host, why in hosts.items()
            }
            summary = f"{len(hosts):,} hosts are {word}, {first} among them"
            # A host may give ever other reasons: they are one event all the same.
            self._events.add_for_hosts(f"host_{word}", messages, summary, alike=word)
        self._fresh.clear()
