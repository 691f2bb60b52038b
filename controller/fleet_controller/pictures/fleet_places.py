"""Where VMs stand when blocks are stretches of a fleet: by fleet and index, wherever they run."""

from __future__ import annotations

import numpy as np

from fleet.states.frames import Cells
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.observed.vectors import NO_HOST
from fleet_controller.pictures.layers import Values

# VMs a block: as many as a host has as a rule.
A_BLOCK = 250
# Of all fleets together: what a page can show.
MOST_CELLS = 1 << 24


class FleetPlaces:
    """Of one picture."""

    def __init__(self, memory: LeaderMemory) -> None:
        self._memory = memory
        self._sizes: dict[str, int] = {}  # by uid, in the order of the fleets' names

    def close(self) -> None:
        """Nothing is held."""

    def blocks(self) -> tuple[tuple[str, str, int], ...]:
        """As the fleets are now: as many as they are to have, and those that are still there."""
        fleets = sorted(self._memory.state.fleets.values(), key=lambda fleet: fleet.name)
        self._sizes, left, blocks = {}, MOST_CELLS, []
        for fleet in fleets:
            holders = self._memory.observed.vectors[fleet.uid].hosts
            placed = np.flatnonzero(holders[fleet.total :] != NO_HOST)
            size = fleet.total + (int(placed[-1]) + 1 if len(placed) else 0)
            size = self._sizes[fleet.uid] = min(size, left)
            left -= size
            for first in range(0, size, A_BLOCK):
                cells = min(A_BLOCK, size - first)
                blocks.append((f"{fleet.name}/{first}", fleet.name, cells))
        return tuple(blocks)

    def cells(self, values: Values) -> Cells:
        """All fleets' cells, one after another."""
        parts = [np.zeros(0, np.uint8)]
        for uid, size in self._sizes.items():
            part = np.zeros(size, np.uint8)
            said = values.by_fleet.get(uid, part)[:size]
            part[: len(said)] = said
            parts.append(part)
        return np.concatenate(parts)
