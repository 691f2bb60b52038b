"""Hosts that are back have soon given up what others run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.simulation.doubles.machine import Machine
from tests.simulation.doubles.operator import Operator
from tests.simulation.engine.trace import Fail
from tests.simulation.rules.one_copy import RETURN_SECONDS, OneCopy
from tests.simulation.rules.store_view import StoreView
from tests.simulation.rules.troubles import Troubles


class Returns:
    """Looks every second for copies that a host should have given up: that is back, and that
    nothing has troubled for long enough."""

    def __init__(
        self,
        clock: Callable[[], float],
        machines: Mapping[str, Machine],
        operator: Operator,
        store: StoreView,
        copies: OneCopy,
        troubles: Troubles,
        fail: Fail,
    ) -> None:
        self._clock = clock
        self._machines = machines
        self._operator = operator
        self._store = store
        self._copies = copies
        self._troubles = troubles
        self._fail = fail
        self._since: dict[str, float] = {}  # hosts that nothing troubles, and since when

    def look(self) -> None:
        now = self._clock()
        # Nobody tells hosts anything before a store that was set back is recovered.
        led = self._operator.leading() is not None and not self._store.frozen
        calm = led and self._troubles.all_is_calm
        self._since = {
            host: self._since.get(host, now)
            for host, machine in self._machines.items()
            # One that was removed is to announce itself; one that is expelled is told nothing.
            if calm and host in self._store.hosts.keys() - self._store.expelled
            if self._troubles.leaves_alone(machine)
        }
        for vm, hosts in self._copies.twice().items():
            if all(now - self._since.get(host, now) > RETURN_SECONDS for host in hosts):
                self._fail("return", f"{vm[1]} of {vm[0]} still runs on {sorted(hosts)}")
