"""What wakes the planner."""

from __future__ import annotations

import asyncio

from fleet_controller.pulse import Pulse
from fleet_controller.waiting import within


class PlannerWake:
    """Given to whatever changes what is planned from. Some cannot wait, and what only some passes
    look at wakes only for those."""

    def __init__(self) -> None:
        self._pulse = Pulse()
        self._urgent = asyncio.Event()
        self._rests = False

    @property
    def version(self) -> int:
        return self._pulse.version

    def changed(self) -> None:
        """Something is otherwise than at the last pass."""
        self._rests = False
        self._pulse.beat()

    def host_changed(self) -> None:
        """A host came, went or describes itself otherwise, in what matters only while there is
        something to do. One that comes and goes for ever keeps nobody from answering."""
        if not self._rests:
            self._pulse.beat()

    def rest(self, version: int) -> None:
        """The pass of this version has found nothing to do, for any host."""
        self._rests = version == self._pulse.version

    def urge(self) -> None:
        """Somebody waits: plan at once."""
        self._urgent.set()
        self.changed()

    async def after(self, version: int, seconds: float | None = None) -> int:
        """Return once something has changed since this version, or after so many seconds; the
        version then."""
        if seconds is None:
            await self._pulse.after(version)
        else:
            await within(seconds, self._pulse.after(version))
        self._urgent.clear()
        return self._pulse.version

    async def pause(self, seconds: float) -> None:
        """Wait this long, or until somebody waits."""
        await within(seconds, self._urgent.wait())
