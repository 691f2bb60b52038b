"""The screen without a terminal: keys are pressed, and its text is read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from textual.pilot import Pilot

from fleet.transport import Role
from fleetctl.ui.app import FleetScreen
from fleetctl.ui.background import Background
from fleetctl.ui.panes import all_panes
from megafleet.connection.cluster import Cluster
from megafleet.contexts import ClusterContext
from tests.certificates import issue

PATIENCE = 60.0


class Shown:
    """A screen that somebody sits at."""

    def __init__(self, pilot: Pilot[None], screen: FleetScreen) -> None:
        self.screen = screen
        self._pilot = pilot

    @property
    def text(self) -> str:
        strips = self.screen.screen._compositor.render_strips()
        return "\n".join("".join(one.text for one in line).rstrip() for line in strips)

    async def press(self, *keys: str) -> None:
        await self._pilot.press(*keys)

    async def resize(self, columns: int, lines: int) -> None:
        await self._pilot.resize_terminal(columns, lines)

    async def until(self, holds: Callable[[str], bool], what: str) -> str:
        """The text once it is so. Raises AssertionError."""
        deadline = time.monotonic() + PATIENCE
        while not holds(text := self.text):
            assert time.monotonic() < deadline, f"never {what}:\n{text}"
            await asyncio.sleep(0.02)  # the screen is drawn meanwhile
        return text

    async def until_shown(self, *texts: str) -> str:
        return await self.until(lambda text: all(one in text for one in texts), f"{texts}")


def client(folder: Path, endpoint: str, role: Role = Role.OPERATOR) -> Cluster:
    """As the command makes it."""
    context = ClusterContext.with_identity((endpoint,), issue(folder / role.value, role, "alice"))
    return Cluster(context, 5.0, plain=True)


@asynccontextmanager
async def shown(
    connection: Cluster, pane: str = "fleets", *, fleet: str = "", size: tuple[int, int] = (80, 24)
) -> AsyncIterator[Shown]:
    screen = FleetScreen(connection, all_panes(fleet, ""), Background(), pane=pane, where="test")
    async with screen.run_test(size=size) as pilot:
        yield Shown(pilot, screen)
