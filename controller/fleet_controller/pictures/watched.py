"""Pictures that are brought up to date with the leader's memory, as often as it is worth."""

from __future__ import annotations

from abc import ABC, abstractmethod

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.pictures.fleet_places import FleetPlaces
from fleet_controller.pictures.host_places import HostPlaces
from fleet_controller.pictures.layers import LAYERS
from fleet_controller.pictures.picture import Layout, Picture

# Seconds between two looks at states; and at everything else, such as which hosts there are.
_INTERVAL = 0.1
_SELDOM = 1.0


class WatchedPicture(ABC):
    """`due`: when it is looked at again, on the leader's clock; `beat`: of the pulse, when it was
    looked at last."""

    def __init__(self, memory: LeaderMemory, picture: Picture, interval: float) -> None:
        self._memory = memory
        self.picture = picture
        self.watchers = 0
        self.due = self._looked = float("-inf")
        self.beat = 0
        self._interval = interval

    def look(self) -> None:
        """At what has changed, unless that was done just now."""
        now = self._memory.clock()
        if now < self.due:
            return
        self.due, self.beat = now + self._interval, self._memory.observed.pulse.version
        anew = now - self._looked >= _SELDOM
        if anew:
            self._looked = now
        self._look(anew)

    @abstractmethod
    def _look(self, anew: bool) -> None:
        """`anew`: also at how the picture is laid out."""

    @abstractmethod
    def close(self) -> None:
        """Nobody watches any more."""


class StatesByHost(WatchedPicture):
    """Compares hosts that have reported, and no others."""

    def __init__(
        self,
        memory: LeaderMemory,
        layer: cluster.StatesLayer.ValueType,
        grouping: cluster.StatesGrouping.ValueType,
    ) -> None:
        super().__init__(memory, Picture(layer, grouping), _INTERVAL)
        self._places = HostPlaces(memory)
        self._values = LAYERS[layer]

    def close(self) -> None:
        self._places.close()

    def _look(self, anew: bool) -> None:
        if anew:
            layout = Layout(self._places.blocks())
            if layout != self.picture.layout or not self.picture.number:
                self._places.take_touched()
                self.picture.begin(layout, self._places.cells(self._values(self._memory)))
                return
        touched = self._places.take_touched()
        of = self._places.states_of
        self.picture.change_blocks({block: of(block, host) for block, host in touched.items()})


class Compared(WatchedPicture):
    """Makes all cells anew and compares them: cheap by fleet, and seldom for all but the states."""

    def __init__(
        self,
        memory: LeaderMemory,
        layer: cluster.StatesLayer.ValueType,
        grouping: cluster.StatesGrouping.ValueType,
    ) -> None:
        is_state = layer == cluster.STATES_LAYER_STATE
        super().__init__(memory, Picture(layer, grouping), _INTERVAL if is_state else _SELDOM)
        by_fleet = grouping == cluster.STATES_GROUPING_FLEET
        self._places = FleetPlaces(memory) if by_fleet else HostPlaces(memory)
        self._values = LAYERS[layer]

    def close(self) -> None:
        self._places.close()

    def _look(self, anew: bool) -> None:
        blocks = self._places.blocks() if anew else self.picture.layout.blocks
        values = self._values(self._memory)
        layout = Layout(blocks, values.legend)
        cells = self._places.cells(values)
        if layout != self.picture.layout or not self.picture.number:
            self.picture.begin(layout, cells)
        else:
            self.picture.change(cells)
