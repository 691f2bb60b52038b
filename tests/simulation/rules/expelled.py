"""A host that is expelled is out: nobody talks to it, and it is given nothing."""

from __future__ import annotations

from collections.abc import Callable

from fleet_controller.replica.leader import Leader
from tests.simulation.doubles.operator import Operator
from tests.simulation.engine.trace import Fail
from tests.simulation.rules.store_view import NOTHING, StoreView

# Whoever leads has heard of it by then, or leads no more.
HEARD_SECONDS = 15.0


class Expelled:
    """Looks every second at hosts that have been expelled for so long under one leader."""

    def __init__(
        self, clock: Callable[[], float], operator: Operator, store: StoreView, fail: Fail
    ) -> None:
        self._clock = clock
        self._operator = operator
        self._store = store
        self._fail = fail
        self._leader: Leader | None = None
        self._since: dict[str, float] = {}

    def look(self) -> None:
        found = self._operator.leading()
        leader = found[1] if found is not None and not self._store.frozen else None
        if leader is None or leader is not self._leader:
            self._since.clear()
        self._leader, now = leader, self._clock()
        out = self._store.expelled if leader else set()
        self._since = {host: self._since.get(host, now) for host in sorted(out)}
        for host, since in self._since.items():
            if leader is None or now - since < HEARD_SECONDS:
                continue
            if leader.memory.links.is_live(host):
                self._fail("expelled", f"{host} is expelled, and the leader talks to it")
            if self._store.assignments.get(host, NOTHING).shards:
                self._fail("expelled", f"{host} is expelled, and has VMs")
