"""Since when VMs are in the state that their hosts tell, and how often they began to run again.

As this leader has heard: seven bytes a VM, which no leader hands on. What begins and ends between
two reports of its host is not seen. A host that is not heard changes nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fleet_controller.core.vm_states import RUNNING, UNKNOWN

Where = slice | NDArray[np.int64]


class Lifetimes:
    """Of one fleet, by index."""

    def __init__(self) -> None:
        self._told: NDArray[np.uint8] = np.zeros(0, np.uint8)  # last; 0: nothing yet
        # On the leader's clock, and 1 more; 0: it was so before anything was heard.
        self._since: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self._runs: NDArray[np.uint16] = np.zeros(0, np.uint16)

    def reserve(self, size: int) -> None:
        more = size - len(self._told)
        self._told = np.concatenate([self._told, np.zeros(more, np.uint8)])
        self._since = np.concatenate([self._since, np.zeros(more, np.uint32)])
        self._runs = np.concatenate([self._runs, np.zeros(more, np.uint16)])

    def begin(self, where: Where, state: int, now: float) -> None:
        """Other VMs than before; UNKNOWN: nothing was heard of them yet."""
        known = state != UNKNOWN
        self._told[where] = state if known else 0
        self._since[where] = int(now) + 1 if known else 0
        self._runs[where] = state == RUNNING

    def tell(self, where: Where, states: NDArray[np.uint8], now: float) -> None:
        """What their host says of them."""
        before = self._told[where]
        other = states != before
        other &= states != UNKNOWN
        if np.count_nonzero(other) < len(other):
            which = np.flatnonzero(other)
            if not len(which):
                return
            where = which + where.start if isinstance(where, slice) else where[which]
            states, before = states[which], before[which]
        self._since[where] = (before != 0) * np.uint32(int(now) + 1)
        self._told[where] = states
        self._runs[where] += states == RUNNING  # begins anew after 65,535: it is for people

    @property
    def begun(self) -> NDArray[np.uint32]:
        """Of each index, in order: since when; 0: for longer than anything was heard."""
        return self._since

    @property
    def runs(self) -> NDArray[np.uint16]:
        """Of each index, how often it has begun to run."""
        return self._runs

    def since(self, index: int) -> float | None:
        """On the leader's clock; None: it was so before this leader heard of it."""
        told = int(self._since[index])
        return told - 1.0 if told else None

    def so_since(self, then: float) -> NDArray[np.bool_]:
        """Which of all are in their state since then at least, as far as this leader has heard:
        never too early, and up to a second too late."""
        return self._since <= max(0.0, then)

    def restarts(self, index: int) -> int:
        return max(0, int(self._runs[index]) - 1)
