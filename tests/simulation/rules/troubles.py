"""What troubles whom at the moment: a rule that says how soon something must come about begins to
count when nothing does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from tests.simulation.doubles.controllers import Controller
from tests.simulation.doubles.etcd import ETCD, Etcd, StoreWeather
from tests.simulation.doubles.liars import Liars
from tests.simulation.doubles.machine import Machine
from tests.simulation.engine.network import Network


class Troubles:
    """Of the network, the store, and who stands at them."""

    def __init__(
        self,
        network: Network,
        etcd: Etcd,
        store_weather: StoreWeather,
        controllers: Sequence[Controller],
        liars: Liars,
    ) -> None:
        self._network = network
        self._etcd = etcd
        self._store_weather = store_weather
        self._controllers = controllers
        self._liars = liars

    @property
    def network_is_calm(self) -> bool:
        return self._network.weather.calm

    @property
    def store_is_calm(self) -> bool:
        """Whether it does at once what it is asked, where it is asked."""
        return self._store_weather.calm

    @property
    def all_is_calm(self) -> bool:
        """Whether network and store serve whoever they reach."""
        return not self._etcd.down and self.store_is_calm and self.network_is_calm

    def are_joined(self, one: str, other: str) -> bool:
        """Whether what either sends reaches the other."""
        return self._network.is_open(one, other) and self._network.is_open(other, one)

    def last_cut(self, *several: str) -> float:
        """When a way between neighbours among these was cut last, however short."""
        cuts = self._network.last_cut
        ways = (way for a, b in pairwise(several) for way in ((a, b), (b, a)))
        return max(cuts.get(way, 0.0) for way in ways)

    def could_lead(self, controller: Controller) -> bool:
        return controller.runs and self.all_is_calm and self.are_joined(controller.name, ETCD)

    def leaves_alone(self, machine: Machine) -> bool:
        """Whether its agent works and every controller reaches it."""
        return (
            machine.runs
            and machine.id not in self._liars.since
            and machine.behaviour.well
            and not machine.disk.full
            and all(one.runs and self.are_joined(one.name, machine.id) for one in self._controllers)
        )
