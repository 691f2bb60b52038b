"""How many VMs of a fleet may boot at once on this host, and how fast they may be started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from fleet.v1 import types_pb2 as types
from fleet_agent.alarm import Alarm
from fleet_agent.reconcile.host_slots import HANDFULS, HostSlots


@dataclass(slots=True)
class Tokens:
    """A bucket that fills with `per_second` tokens a second and holds a second's worth.

    It outlives the pass that draws from it: replanning must not grant starts anew.
    """

    clock: Callable[[], float]
    per_second: float = 0.0
    held: float = 1.0
    filled_at: float = 0.0

    def set_rate(self, per_second: float) -> None:
        if per_second != self.per_second:
            self.per_second = per_second
            self.held, self.filled_at = max(1.0, per_second), self.clock()

    def available(self) -> int:
        """Whole tokens there are."""
        now = self.clock()
        self.held = min(
            max(1.0, self.per_second), self.held + (now - self.filled_at) * self.per_second
        )
        self.filled_at = now
        return int(self.held + 1e-9)

    def seconds_to_next(self) -> float:
        return max(0.0, (1.0 - self.held) / self.per_second)


class Admission:
    """A fleet's slots between start and ready. Those already booting hold theirs from the
    beginning. `host`: the slots that all fleets share."""

    def __init__(
        self, admission: types.Admission, booting: int, tokens: Tokens, host: HostSlots
    ) -> None:
        parallel = admission.parallel or 1
        self._free = parallel - booting
        self._handful = max(1, parallel // HANDFULS)
        self._host = host
        self._tokens = tokens
        tokens.set_rate(admission.per_second)
        self._alarm = Alarm()
        self._turn = asyncio.Lock()

    async def acquire(self, wanted: int) -> int:
        """Wait until at least one VM may start; how many of `wanted` may. First come, first
        served."""
        async with self._turn:
            return await self._acquire(wanted)

    async def _acquire(self, wanted: int) -> int:
        while True:
            granted = min(wanted, self._free)
            if granted < min(wanted, self._handful):
                await self._alarm.sleep(None)
                continue
            if self._tokens.per_second <= 0:
                break
            granted = min(granted, self._tokens.available())
            if granted > 0:
                break
            await self._alarm.sleep(self._tokens.seconds_to_next())
        granted = await self._host.acquire(granted)
        if self._tokens.per_second > 0:
            self._tokens.held -= granted
        self._free -= granted
        return granted

    def release(self, count: int) -> None:
        if not count:
            return
        self._host.release(count)
        self._free += count
        if self._free > 0:
            self._alarm.ring()
