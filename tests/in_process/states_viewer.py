"""Somebody who watches VMs: what frames make of cells."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import numpy as np

from fleet.states.frames import Encoded, apply_frame, starts_of
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.replica.leader import Leader


class Viewer:
    """Applies what it is sent, and is as slow as the test wants."""

    def __init__(
        self,
        leader: Leader,
        layer: cluster.StatesLayer.ValueType = cluster.STATES_LAYER_STATE,
        grouping: cluster.StatesGrouping.ValueType = cluster.STATES_GROUPING_HOST,
    ) -> None:
        self.frames = leader.states.frames(layer, grouping)
        self.legend: list[str] = []
        self.hosts: dict[str, int] = {}
        self.number = 0
        self.starts, self.cells = starts_of(np.zeros(0, np.int64)), np.zeros(0, np.uint8)
        self.last = cluster.StatesFrame()

    async def read(self) -> cluster.StatesFrame:
        frame = self.last = await anext(self.frames)
        if frame.HasField("layout"):
            self.legend = list(frame.layout.legend)
            self.hosts = {one.id: block for block, one in enumerate(frame.layout.hosts)}
            self.starts = starts_of(np.array([one.cells for one in frame.layout.hosts], np.int64))
            self.cells = np.zeros(int(self.starts[-1]), np.uint8)
        else:
            assert frame.after == self.number
        if frame.cells:
            encoded = Encoded(frame.encoding, frame.cells)
            largest = len(self.legend) or int(types.VM_STATE_UNKNOWN)
            apply_frame(self.cells, self.starts, encoded, largest)
        self.number = frame.number
        return frame

    def of(self, host: str) -> list[int]:
        block = self.hosts[host]
        return [int(one) for one in self.cells[self.starts[block] : self.starts[block + 1]]]

    def said(self, host: str) -> Counter[str]:
        """How many cells of the host say what, by the legend."""
        return Counter(self.legend[one - 1] for one in self.of(host) if one)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Reads frames until it does."""
        async with asyncio.timeout(30):
            while not self.hosts or not holds():
                await self.read()
