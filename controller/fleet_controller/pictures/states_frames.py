"""Frames for those who watch VMs: a picture for each layer and grouping, kept while somebody looks.

What has changed is worked out and encoded once for all watchers of a picture, at most ten times a
second, by whichever of them comes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.pictures.layers import LAYERS
from fleet_controller.pictures.watched import Compared, StatesByHost, WatchedPicture
from fleet_controller.waiting import within

MOST_WATCHERS = 64
# Seconds after which a frame without a change says that the leader is there.
_QUIET = 1.0

_STATE, _BY_HOST = cluster.STATES_LAYER_STATE, cluster.STATES_GROUPING_HOST
_Asked = tuple[cluster.StatesLayer.ValueType, cluster.StatesGrouping.ValueType]


class StatesFrames:
    """Of one leadership."""

    def __init__(self, memory: LeaderMemory) -> None:
        self._memory = memory
        self._watched: dict[_Asked, WatchedPicture] = {}

    @property
    def watchers(self) -> int:
        return sum(one.watchers for one in self._watched.values())

    async def frames(
        self,
        layer: cluster.StatesLayer.ValueType = _STATE,
        grouping: cluster.StatesGrouping.ValueType = _BY_HOST,
    ) -> AsyncGenerator[cluster.StatesFrame, None]:
        """First a frame with all cells, then changes. A layer or grouping that is not known is
        states by host. Raises Refused when too many watch."""
        if self.watchers >= MOST_WATCHERS:
            raise Refused(
                Reason.TOO_MANY_WATCHERS, f"{MOST_WATCHERS} viewers watch already; try again later"
            )
        by_fleet = grouping == cluster.STATES_GROUPING_FLEET
        asked = layer if layer in LAYERS else _STATE, grouping if by_fleet else _BY_HOST
        watched = self._watched.get(asked) or self._begin(asked)
        watched.watchers += 1
        try:
            seen = 0
            while True:
                watched.look()
                frame = watched.picture.since(seen)
                seen = frame.number  # others may make further ones while this one is sent
                yield frame
                await asyncio.sleep(max(0.0, watched.due - self._memory.clock()))
                await within(_QUIET, self._memory.observed.pulse.after(watched.beat))
        finally:
            watched.watchers -= 1
            if not watched.watchers:
                watched.close()
                del self._watched[asked]

    def _begin(self, asked: _Asked) -> WatchedPicture:
        kind = StatesByHost if asked == (_STATE, _BY_HOST) else Compared
        self._watched[asked] = kind(self._memory, *asked)
        return self._watched[asked]
