"""Slots of the whole host between start and ready, given out as the pressure on its CPUs allows.

Those of fleets (`admission`) bound what one fleet may take; these bound all of them together.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from fleet_agent.alarm import Alarm
from fleet_agent.core.start_pace import COUNTED_SECONDS, LOOK_SECONDS, Look, Pressure, look_again

log = structlog.get_logger()

# Into how many parts the slots are given out: a driver call for each single VM costs more than a
# slot that stays empty for a moment.
HANDFULS = 8


class StartPace:
    """What is allowed, from look to look. It outlives the plans that start by it."""

    def __init__(
        self, read: Callable[[], Pressure | None], cores: int, clock: Callable[[], float]
    ) -> None:
        """`read` gives None where the kernel does not tell; `clock` monotonic seconds."""
        self._read = read
        self._cores = cores
        self._clock = clock
        self._look: Look | None = None
        # When so many were last started: those that still count are the newest.
        self._begun: deque[tuple[float, int]] = deque()

    def allowed(self, under_way: int, most: int) -> int | None:
        """How many may be under way; None where nothing is known of pressure. Looks anew once a
        second."""
        now = self._clock()
        if self._look is None or not 0 <= now - self._look.at < LOOK_SECONDS:
            pressure = self._read()
            if pressure is None:
                self._look = None
                return None
            before = self._look
            self._look = look_again(
                before,
                pressure,
                now,
                starting=self.counted(under_way),
                cores=self._cores,
                most=most,
            )
            if before is None or before.allowed != self._look.allowed:
                share = round(self._look.share, 2)
                log.info("starts at once", allowed=self._look.allowed, cpu_pressure=share)
        return min(self._look.allowed, most)

    def counted(self, under_way: int) -> int:
        """Of so many, those that were started lately."""
        now = self._clock()
        while self._begun and now - self._begun[0][0] >= COUNTED_SECONDS:
            self._begun.popleft()
        return min(under_way, sum(count for _, count in self._begun))

    def note_begun(self, count: int) -> None:
        self._begun.append((self._clock(), count))


class HostSlots:
    """Those of one run of a plan. `under_way`: VMs that are booting as it begins; `most`: what
    operators allow all fleets together."""

    def __init__(self, pace: StartPace | None, under_way: int, most: int) -> None:
        """`pace`: None: as many as the fleets' own slots admit."""
        self._pace = pace
        self._under_way = under_way
        self._most = max(1, most)
        self._alarm = Alarm()
        self._turn = asyncio.Lock()

    async def acquire(self, wanted: int) -> int:
        """Wait until at least one VM may start; how many of `wanted` may. First come, first
        served."""
        if self._pace is None:
            return wanted
        async with self._turn:
            while not (granted := self._granted(self._pace, wanted)):
                await self._alarm.sleep(LOOK_SECONDS)
            self._under_way += granted
            self._pace.note_begun(granted)
            return granted

    def release(self, count: int) -> None:
        self._under_way -= count
        self._alarm.ring()

    def _granted(self, pace: StartPace, wanted: int) -> int:
        """None rather than less than a handful. Fleets' own slots are all there is where the kernel
        does not tell."""
        allowed = pace.allowed(self._under_way, self._most)
        if allowed is None:
            return wanted
        free = allowed - pace.counted(self._under_way)
        granted = min(wanted, max(0, free))
        return granted if granted >= min(wanted, max(1, allowed // HANDFULS)) else 0
