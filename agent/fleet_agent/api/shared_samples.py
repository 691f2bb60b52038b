"""Samples for whoever asks: looks are shared, each caller compares with the one it had before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.top import Counters, sample
from fleet_agent.drivers.ports.errors import DriverError, as_driver_errors
from fleet_agent.drivers.ports.hypervisor import Sampler

# Seconds between two samples of one caller: a look at a dom0 of 250 guests costs some 250 calls
# to its libvirtd.
MIN_INTERVAL = 1.0
MAX_INTERVAL = 3600.0
# A look no older than this serves another caller as well.
FRESH_SECONDS = 0.5
LOOK_DEADLINE = 30.0


@dataclass(frozen=True, slots=True)
class SamplesRequest:
    """What one caller is to get. `interval`: seconds; 0 `samples`: until it is cancelled."""

    interval: float = 0.0
    fleet_uid: str = ""
    limit: int = 0
    order: int = wire.TOP_ORDER_CPU
    samples: int = 0


class Sampling:
    """One host's. `clock` gives monotonic seconds."""

    def __init__(self, sampler: Sampler, clock: Callable[[], float]) -> None:
        self._sampler = sampler
        self._clock = clock
        self._turn = asyncio.Lock()
        self._last: Counters | None = None
        self._callers = 0

    async def samples(self, request: SamplesRequest) -> AsyncGenerator[wire.TopSample, None]:
        """Each over its own interval, the first one after the first interval. Raises
        DriverError."""
        interval = min(max(request.interval, MIN_INTERVAL), MAX_INTERVAL)
        self._callers += 1
        try:
            before, given = await self._counters(), 0
            while not request.samples or given < request.samples:
                await asyncio.sleep(max(0.0, before.at + interval - self._clock()))
                after = await self._counters()
                yield sample(
                    before,
                    after,
                    fleet_uid=request.fleet_uid,
                    order=request.order,
                    limit=request.limit,
                )
                before, given = after, given + 1
        finally:
            self._callers -= 1
            if not self._callers:
                self._last = None

    async def _counters(self) -> Counters:
        """Counters read at most FRESH_SECONDS ago. Callers that come while they are read wait
        for that reading."""
        wanted = self._clock() - FRESH_SECONDS
        async with self._turn:
            if self._last is not None and self._last.at >= wanted:
                return self._last
            at = self._clock()
            try:
                async with asyncio.timeout(LOOK_DEADLINE):
                    with as_driver_errors("counters"):
                        host, domains = await self._sampler.counters()
            except TimeoutError as error:
                raise DriverError(
                    f"the hypervisor did not say what its domains use within {LOOK_DEADLINE:.0f} s"
                ) from error
            self._last = Counters(at, host, domains)
            return self._last
