"""How long changes of a fleet's total take, until all of it is as wanted: seen by the leader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Histogram

from fleet_controller.replica.replica import NotLeading, Replica

# Between two looks: so exact is what is measured.
INTERVAL_SECONDS = 0.5
_BUCKETS = (1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400)


@dataclass(frozen=True, slots=True)
class FleetTotal:
    """One fleet as it is now. `total`: as wanted; `converged`: all of it is as wanted."""

    total: int
    converged: bool


class ScaleDurations:
    """What is under way when a leader begins is not measured: nobody knows when it began."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._totals: dict[str, int] = {}
        self._looked = False  # in this leadership: a fleet that appears later is a new one
        self._since: dict[str, float] = {}
        self._histogram = Histogram(
            "megafleet_scale_seconds",
            "From a new total of a fleet until all of it is as wanted.",
            buckets=_BUCKETS,
            registry=registry,
        )

    async def follow(self, replica: Replica) -> None:
        """Until cancelled."""
        while True:
            try:
                memory = replica.leader().memory
            except NotLeading:
                self.forget()
            else:
                vectors, releasing = memory.observed.vectors, memory.observed.releasing
                self.look(
                    {
                        one.uid: FleetTotal(
                            one.total,
                            vectors[one.uid].as_wanted == one.total == vectors[one.uid].placed
                            and not releasing[one.uid],
                        )
                        for one in memory.state.fleets.values()
                    }
                )
            await asyncio.sleep(INTERVAL_SECONDS)

    def look(self, fleets: Mapping[str, FleetTotal]) -> None:
        """By uid. A total that changes again before it is reached begins anew."""
        now = self._clock()
        for uid in self._totals.keys() - fleets.keys():
            del self._totals[uid]
            self._since.pop(uid, None)
        for uid, fleet in fleets.items():
            before = self._totals.get(uid, 0 if self._looked else fleet.total)
            self._totals[uid] = fleet.total
            if before != fleet.total:
                self._since[uid] = now
            if fleet.converged and uid in self._since:
                self._histogram.observe(now - self._since.pop(uid))
        self._looked = True

    def forget(self) -> None:
        """This replica does not lead."""
        self._looked = False
        self._totals.clear()
        self._since.clear()
