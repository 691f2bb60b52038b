"""What wakes the planner."""

from __future__ import annotations

import asyncio

from fleet_controller.pulse import Pulse
from fleet_controller.waiting import within


class PlannerWake:
    """Given to whatever changes what is planned from. Two kinds of calls: some cannot wait."""

    def __init__(self) -> None:
        self._pulse = Pulse()
        self._urgent = asyncio.Event()

    @property
    def version(self) -> int:
        return self._pulse.version

    def changed(self) -> None:
        """Something is otherwise than at the last pass."""
        self._pulse.beat()

    def urge(self) -> None:
        """Somebody waits: plan at once."""
        self._urgent.set()
        self._pulse.beat()

    async def after(self, version: int) -> int:
        """Return once something has changed since this version; the version then."""
        seen = await self._pulse.after(version)
        self._urgent.clear()
        return seen

    async def pause(self, seconds: float) -> None:
        """Wait this long, or until somebody waits."""
        await within(seconds, self._urgent.wait())
