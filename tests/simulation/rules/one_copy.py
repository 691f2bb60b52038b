"""What runs on the machines: never two copies of one VM, never too many, and nothing done to a
VM that its orders did not name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleet.keys import Kin
from fleet.ranges import IndexSet
from fleet_agent.core.model import REMOVALS, Batch, StepKind
from fleet_controller.core.model import HostRecord
from tests.simulation.doubles.liars import Liars
from tests.simulation.doubles.machine import Machine
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.trace import Fail
from tests.simulation.rules.orders import Orders, named_for_removal
from tests.simulation.rules.store_view import StoreView

Vm = tuple[str, int]  # fleet uid, index
# A lost host that is back has so long to give up what others hold.
RETURN_SECONDS = 60.0


class OneCopy(Witness):
    """What runs where."""

    def __init__(
        self,
        machines: Mapping[str, Machine],
        orders: Orders,
        store: StoreView,
        liars: Liars,
        has_just_returned: Callable[[str], bool],
        fail: Fail,
    ) -> None:
        """`has_just_returned`: whether what a host had begun may still take effect, though it is
        not lost any more."""
        self._machines = machines
        self._orders = orders
        self._store = store
        self._liars = liars
        self._has_just_returned = has_just_returned
        self._fail = fail
        self.holders: dict[Vm, str] = {}
        self.doubles: dict[Vm, set[str]] = {}
        # Copies on hosts that were lost since these were started: they may have seconds.
        self.forgiven: set[tuple[str, Vm]] = set()
        self.counts: dict[str, int] = {}

    def running(self, uid: str) -> IndexSet:
        return IndexSet.of(index for fleet, index in self.holders if fleet == uid)

    def twice(self) -> dict[Vm, set[str]]:
        """Which VMs run on which hosts at once. What a recovered store has never known and nobody
        wants are orphans, left alone wherever they are."""
        if self._store.generation == 1:
            return self.doubles
        return {vm: hosts for vm, hosts in self.doubles.items() if self._store.wants(*vm)}

    def vms_started(self, host: str, kin: Kin, indices: IndexSet) -> None:
        """Of a host that ever lied nothing counts: what it said to have let go may run on."""
        if self._may_run_twice(host, kin.fleet_uid):
            self.forgiven.update((host, (kin.fleet_uid, index)) for index in indices)
        for index in indices:
            vm = (kin.fleet_uid, index)
            holder = self.holders.setdefault(vm, host)
            if holder is not host or self.counted_twice(host, kin, index):
                self._second(vm, holder, host)
        self.counts[host] = self.counts.get(host, 0) + len(indices)
        machine = self._machines[host]
        believed = self._adopted(machine) or host in self._liars.ever
        if not believed and self.counts[host] > machine.capacity:
            self._fail("capacity", f"{self.counts[host]} VMs run on {host}")
        record = machine.disk.record
        if record is not None and record.boot_id != machine.boot_id and not self._store.waits(kin):
            self._fail("reboot", f"{host} starts {indices} before it was assigned anew")

    def _may_run_twice(self, host: str, uid: str) -> bool:
        """Whether the host's copies stopped to count when it was declared lost, or began to lie."""
        store = self._store
        if host in self._liars.ever:
            return True
        unaware = store.is_lost(host, uid) or store.may_not_know(host)
        return unaware or self._has_just_returned(host)

    def _adopted(self, machine: Machine) -> bool:
        """Whether its assignment is of a recovered store, which took over what it had as orphans
        or does not know of those."""
        record = machine.disk.record
        return record is not None and record.epoch[0] > 1

    def counted_twice(self, host: str, kin: Kin, index: int) -> bool:
        """Whether another life of the same VM runs on the host."""
        active = self._machines[host].hypervisor.all_active()
        return any(
            index in have
            for other, have in active.items()
            if other.fleet_uid == kin.fleet_uid and other != kin
        )

    def vms_ended(self, host: str, kin: Kin, indices: IndexSet) -> None:
        self.counts[host] = self.counts.get(host, 0) - len(indices)
        for index in indices:
            vm = (kin.fleet_uid, index)
            self.forgiven.discard((host, vm))
            if others := self.doubles.get(vm):
                others.discard(host)
                if self.holders[vm] == host and others:
                    self.holders[vm] = sorted(others)[0]
                if len(others) < 2:
                    del self.doubles[vm]
            elif self.holders.get(vm) == host:
                del self.holders[vm]

    def _second(self, vm: Vm, holder: str, host: str) -> None:
        holders = self.doubles.setdefault(vm, {holder})
        holders.add(host)
        counted = [
            one for one in holders if (one, vm) not in self.forgiven and one not in self._liars.ever
        ]
        if (holder == host and holder not in self._liars.ever) or len(counted) > 1:
            self._fail("one copy", f"{vm[1]} of {vm[0]} runs on {holder} and starts on {host}")

    def verdict_written(self, record: HostRecord, lost: bool) -> None:
        if lost:
            self._forgive(record.id)

    def host_lost_while_frozen(self, host: str) -> None:
        self._forgive(host)

    def host_removed(self, host: str) -> None:
        self._forgive(host)

    def _forgive(self, host: str) -> None:
        """The host is declared lost: what runs there counts no longer, until it ends."""
        for kin, active in self._machines[host].hypervisor.all_active().items():
            self.forgiven.update((host, (kin.fleet_uid, index)) for index in active)

    def step_begins(self, host: str, kind: StepKind, batch: Batch, indices: IndexSet) -> None:
        """What takes something away must be named by the orders in whose name it is done."""
        if kind not in REMOVALS or (kind is StepKind.STOP and self._store.stop_after(batch.kin)):
            return
        epoch = batch.mark.epoch
        orders = self._orders.of(host, epoch)
        if orders is None:
            self._fail("orders", f"{host} does {kind} in the name of {epoch}, never written")
            return
        unnamed = indices - named_for_removal(orders, batch.kin, stop=kind is StepKind.STOP)
        if unnamed and kind is not StepKind.STOP:
            unnamed = unnamed - self._orders.released_before(host, epoch, batch.kin)
        if unnamed:
            self._fail(
                "tombstone",
                f"{host} does {kind} of {unnamed} of {batch.kin}: not in its orders {epoch}",
            )
