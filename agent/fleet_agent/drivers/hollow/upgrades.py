"""Upgrades of a hollow host: after a while it says that it is the other release. No program
changes, and a new process is the old release again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# As long as a real agent's restart, of which nothing else is simulated.
SECONDS = 1.0


class HollowUpgrades:
    """`changed`: told the release that the host is from then on."""

    def __init__(self, version: str, changed: Callable[[str], None]) -> None:
        self.version = version
        self._changed = changed

    async def upgrade(self, version: str) -> None:
        if version != self.version:
            await asyncio.sleep(SECONDS)
            self.version = version
            self._changed(version)
