"""An operator recovers a store that was set back: what runs then is what hosts are assigned, but
for what two of them had."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import Tombstone
from tests.simulation.doubles.liars import Liars
from tests.simulation.doubles.machine import Machine
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.trace import Fail
from tests.simulation.rules.orders import Orders, named_for_removal
from tests.simulation.rules.store_view import NOTHING, StoreView


class Recovery(Witness):
    """Looks when changes are taken again."""

    def __init__(
        self,
        machines: Mapping[str, Machine],
        orders: Orders,
        store: StoreView,
        liars: Liars,
        fail: Fail,
    ) -> None:
        self._liars = liars
        self._machines = machines
        self._orders = orders
        self._store = store
        self._fail = fail
        # Tombstones there were when the store was set back, by host, and those of recoveries that
        # were cut short: what these have written stands, whoever was believed to have a VM and is
        # away the next time.
        self._asked: dict[str, tuple[Tombstone, ...]] = {}

    def store_set_back(self) -> None:
        self._asked.clear()

    def recovery_asked(self) -> None:
        for host, one in self._store.assignments.items():
            self._asked[host] = (*self._asked.get(host, ()), *one.tombstones)

    def changes_thawed(self) -> None:
        """Nothing that runs was given up for what does not."""
        store = self._store
        for host, machine in self._machines.items():
            if host in self._liars.ever:
                continue
            stones = store.assignments.get(host, NOTHING).tombstones
            asked = self._asked.get(host, ())
            record = machine.disk.record
            told = self._orders.of(host, record.epoch) if record else None
            for kin, active in machine.hypervisor.all_active().items():
                taken = active & _named(stones, kin) - _named(asked, kin)
                taken = taken - store.held.get(kin.fleet_uid, EMPTY)
                if told is not None:
                    taken = taken - named_for_removal(told, kin, stop=True)
                fleet = store.fleet(kin.fleet_uid)
                if fleet is not None and (given_up := taken & fleet.wanted):
                    self._fail(
                        "recovery", f"{given_up} of {fleet.name} run on {host} and are given up"
                    )


def _named(stones: tuple[Tombstone, ...], kin: Kin) -> IndexSet:
    return IndexSet.union_of(
        stone.ranges
        for stone in stones
        if stone.fleet == kin.fleet_uid and stone.born_until >= kin.birth
    )
