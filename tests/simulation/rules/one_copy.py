"""What runs on the machines: never two copies of one VM, never too many, and nothing done to a
VM that its orders did not name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleet.keys import Epoch, Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import REMOVALS, Batch, StepKind
from fleet_controller.core.model import Assignment
from tests.simulation.doubles.machine import Machine

Fail = Callable[[str, str], None]
Vm = tuple[str, int]  # fleet uid, index
# A lost host that is back has so long to give up what others hold.
RETURN_SECONDS = 60.0


class Orders:
    """Every assignment that the store ever held, by host and epoch."""

    def __init__(self) -> None:
        self._known: dict[str, dict[Epoch, Assignment]] = {}

    def note(self, host: str, epoch: Epoch, assignment: Assignment) -> None:
        self._known.setdefault(host, {})[epoch] = assignment

    def of(self, host: str, epoch: Epoch) -> Assignment | None:
        return self._known.get(host, {}).get(epoch)

    def released_before(self, host: str, epoch: Epoch, kin: Kin) -> IndexSet:
        """What of the kin tombstones of earlier orders of the same store have named, and these do
        not want."""
        known = self._known.get(host, {})
        named = IndexSet.union_of(
            stone.ranges
            for earlier, orders in known.items()
            if earlier[0] == epoch[0] and earlier < epoch
            for stone in orders.tombstones
            if stone.fleet == kin.fleet_uid and kin.birth <= stone.born_until
        )
        wanted = (
            shard.ranges
            for shard in known[epoch].shards
            if (shard.fleet, shard.birth) == (kin.fleet_uid, kin.birth)
        )
        return named - IndexSet.union_of(wanted)


class Copies:
    """Hears the drivers of every machine (`DriverWitness`)."""

    def __init__(
        self,
        machines: Mapping[str, Machine],
        orders: Orders,
        may_run_twice: Callable[[str, str], bool],
        waits: Callable[[Kin], bool],
        stops_alone: Callable[[Kin], bool],
        fail: Fail,
    ) -> None:
        """`may_run_twice`: whether a host's copies stopped to count when it was declared lost.
        `waits`: whether these VMs wait for a lost host, and may start by themselves after a grace.
        `stops_alone`: whether they are stopped when no controller is heard (see `isolation`).
        """
        self._machines = machines
        self._orders = orders
        self._may_run_twice = may_run_twice
        self._waits = waits
        self._stops_alone = stops_alone
        self._fail = fail
        self.holders: dict[Vm, str] = {}
        self.doubles: dict[Vm, set[str]] = {}
        # Copies on hosts that were lost since these were started: they may have seconds.
        self.forgiven: set[tuple[str, Vm]] = set()
        self.counts: dict[str, int] = {}

    def running(self, uid: str) -> IndexSet:
        return IndexSet.of(index for fleet, index in self.holders if fleet == uid)

    def started(self, host: str, kin: Kin, indices: IndexSet) -> None:
        if self._may_run_twice(host, kin.fleet_uid):
            self.forgiven.update((host, (kin.fleet_uid, index)) for index in indices)
        for index in indices:
            vm = (kin.fleet_uid, index)
            holder = self.holders.setdefault(vm, host)
            if holder is not host or self.counted_twice(host, kin, index):
                self._second(vm, holder, host)
        self.counts[host] = self.counts.get(host, 0) + len(indices)
        machine = self._machines[host]
        if not self._adopted(machine) and self.counts[host] > machine.capacity:
            self._fail("capacity", f"{self.counts[host]} VMs run on {host}")
        record = machine.disk.record
        if record is not None and record.boot_id != machine.boot_id and not self._waits(kin):
            self._fail("reboot", f"{host} starts {indices} before it was assigned anew")

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

    def ended(self, host: str, kin: Kin, indices: IndexSet) -> None:
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
        counted = [one for one in holders if (one, vm) not in self.forgiven]
        if holder == host or len(counted) > 1:
            self._fail("one copy", f"{vm[1]} of {vm[0]} runs on {holder} and starts on {host}")

    def forgive(self, host: str) -> None:
        """The host is declared lost: what runs there counts no longer, until it ends."""
        for kin, active in self._machines[host].hypervisor.all_active().items():
            self.forgiven.update((host, (kin.fleet_uid, index)) for index in active)

    def acts(self, host: str, kind: StepKind, batch: Batch, indices: IndexSet) -> None:
        """What takes something away must be named by the orders in whose name it is done."""
        if kind not in REMOVALS or (kind is StepKind.STOP and self._stops_alone(batch.kin)):
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


def named_for_removal(orders: Assignment, kin: Kin, *, stop: bool) -> IndexSet:
    """What of the kin the orders take away: tombstones, newer births, and for a stop what is to
    be off or to be started anew."""
    found = EMPTY
    for stone in orders.tombstones:
        if stone.fleet == kin.fleet_uid and kin.birth <= stone.born_until:
            found = found | stone.ranges
    for shard in orders.shards:
        if shard.fleet != kin.fleet_uid:
            continue
        newer = shard.birth > kin.birth
        off = shard.birth == kin.birth and (not shard.power or shard.staged or shard.restart > 0)
        if newer or (stop and off):
            found = found | shard.ranges
        elif shard.birth == kin.birth:
            found = found - shard.ranges
    return found
