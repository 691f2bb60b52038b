"""Hosts that hear no controller: what may be stopped for that, and what must be.

Only VMs of fleets that ask for it, only after the time that these ask for, and then soon.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleet.keys import Kin, Term
from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.model import Batch, StepKind
from tests.simulation.doubles.cluster import LOOK_SECONDS
from tests.simulation.doubles.machine import Machine
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.trace import Fail
from tests.simulation.rules.orders import Orders, named_for_removal
from tests.simulation.rules.store_view import StoreView

# A host's clock is that much slower or faster, and a round that is interrupted ends soon.
EXACT = 0.99
SOON_SECONDS = 0.2
# An agent that nothing troubles has stopped them so long after it may.
STOPPED_SECONDS = 25.0


class Contacts(Witness):
    """When each host has heard a controller last, by its own clock; a stream of reports that one
    holds is its word."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._readers: dict[str, int] = {}
        self._heard: dict[str, float] = {}
        self._before: dict[str, float] = {}  # how long it was silent until then

    def controller_heard(self, host: str) -> None:
        self._before[host] = self.silence(host)
        self._heard[host] = self._clock()

    def assignment_acknowledged(self, host: str, request: wire.AssignRequest) -> None:
        self.controller_heard(host)

    def reports_begun(self, host: str, term: Term, written: bool) -> None:
        self._is_read(host)

    def observation_begun(self, host: str) -> None:
        self._is_read(host)

    def _is_read(self, host: str) -> None:
        self.controller_heard(host)
        self._readers[host] = self._readers.get(host, 0) + 1

    def reports_ended(self, host: str) -> None:
        if self._readers.get(host):
            self.controller_heard(host)
            self._readers[host] -= 1

    def agent_ended(self, host: str) -> None:
        if self._readers.get(host):
            self.controller_heard(host)
            self._readers[host] = 0

    def clock_jumped(self, host: str, seconds: float) -> None:
        if host in self._heard:
            self._heard[host] -= seconds

    def silence(self, host: str) -> float:
        """Seconds without a controller. A word that has just been said may not have taken effect
        yet."""
        if self._readers.get(host):
            return 0.0
        silent = self._clock() - self._heard.get(host, 0.0)
        return self._before.get(host, silent) if silent < SOON_SECONDS else silent


class Isolation(Witness):
    """Hears of each stop as it is asked for, and looks every second."""

    def __init__(
        self,
        machines: Mapping[str, Machine],
        orders: Orders,
        contacts: Contacts,
        store: StoreView,
        fail: Fail,
    ) -> None:
        self._machines = machines
        self._orders = orders
        self._contacts = contacts
        self._store = store
        self._fail = fail
        self._well: dict[str, float] = {}  # hosts that nothing troubles, and for how long

    def step_asked(self, host: str, kind: StepKind, batch: Batch) -> None:
        limit = self._store.stop_after(batch.kin)
        if kind is not StepKind.STOP or not limit:
            return
        orders = self._orders.of(host, batch.mark.epoch)
        if orders is None or not batch.indices - named_for_removal(orders, batch.kin, stop=True):
            return
        silent = self._contacts.silence(host)
        if silent < limit * EXACT:
            self._fail(
                "isolation",
                f"{host} stops {batch.indices} of {batch.kin.fleet_uid} after {silent:.1f} s "
                f"without a controller, and is to wait {limit:.0f} s",
            )

    def look(self) -> None:
        """What is to be stopped is."""
        for host, machine in self._machines.items():
            well = machine.runs and machine.behaviour.well
            self._well[host] = self._well.get(host, 0.0) + LOOK_SECONDS if well else 0.0
            silent = min(self._contacts.silence(host), self._well[host])
            if silent > STOPPED_SECONDS:
                self._check(host, silent)

    def _check(self, host: str, silent: float) -> None:
        for kin, active in self._machines[host].hypervisor.all_active().items():
            limit = self._store.stop_after(kin)
            if not limit or silent < limit + STOPPED_SECONDS:
                continue
            if left := active & self._own(host, kin):
                self._fail(
                    "isolation",
                    f"{left} of {kin.fleet_uid} run on {host}, which has heard no controller for "
                    f"{silent:.0f} s, and are to stop after {limit:.0f} s",
                )

    def _own(self, host: str, kin: Kin) -> IndexSet:
        """What the host's ledger says it is to run: nothing else is stopped for silence."""
        record = self._machines[host].disk.record
        orders = self._orders.of(host, record.epoch) if record else None
        return IndexSet.union_of(
            shard.ranges
            for shard in (orders.shards if orders else ())
            if (shard.fleet, shard.birth) == (kin.fleet_uid, kin.birth)
        )
