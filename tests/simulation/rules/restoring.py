"""An etcd that is restored from a backup while hosts go on, and the operator who recovers from it.

From the moment it is set back until changes are taken again nothing may be decided, and no VM may
be stopped for it; what runs then is what hosts are assigned, but for what two of them had.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import Tombstone
from fleet_controller.store.port import Change, Snapshot
from tests.simulation.doubles.cluster import SimulatedCluster
from tests.simulation.doubles.witness import Witness
from tests.simulation.rules.division import NOTHING, Division
from tests.simulation.rules.one_copy import Orders, named_for_removal

COPY_SECONDS = 15.0
COPIES = 8
ASK_SECONDS = 5.0
# An operator waits so long for hosts that are not heard, before they are given up.
PATIENCE_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Copy:
    """A backup; and what must be as it was then for it to be of use: see `Restores._may_use`."""

    snapshot: Snapshot
    uids: frozenset[str]
    hosts: frozenset[str]
    ledgers_lost: int


class Restores(Witness):
    """Of one cluster."""

    def __init__(self, cluster: SimulatedCluster, division: Division, orders: Orders) -> None:
        self._cluster = cluster
        self._division = division
        self._orders = orders
        self._copies: deque[Copy] = deque(maxlen=COPIES)
        self._since = 0.0  # when the store was set back last
        self.under_way = False  # from then on, until changes are taken again
        # Tombstones it had then, by host, and those of recoveries that were cut short: what these
        # have written stands, whoever was believed to have a VM and is away the next time.
        self._asked: dict[str, tuple[Tombstone, ...]] = {}

    def copy_for_ever(self) -> None:
        """Backups, again and again."""
        cluster = self._cluster
        if not self._division.frozen and not cluster.etcd.down:
            self._copies.append(self._copy())
        cluster.loop.after(COPY_SECONDS, self.copy_for_ever)

    def _copy(self) -> Copy:
        hosts = frozenset(self._division.hosts)
        snapshot = self._cluster.etcd.snapshot("")
        return Copy(snapshot, self._uids(), hosts, self._ledgers_lost())

    def restore(self, which: float) -> None:
        """To one of the backups that can be used; nothing where there is none.

        A fleet that was deleted since would be there again, and one made anew since would be
        another of its name, which nobody but people can part. A host that is new since is known to
        nobody until it announces itself, and of one that has lost its ledger nobody knows that it
        is ahead.
        """
        usable = [copy for copy in self._copies if self._may_use(copy)]
        if not usable or self._division.frozen:
            return
        cluster, chosen = self._cluster, usable[int(which * len(usable))].snapshot
        cluster.note("store", f"set back from {cluster.etcd.revision} to {chosen.revision}")
        cluster.etcd.set_back(chosen)
        self._copies.clear()
        self._since = cluster.loop.now
        self.under_way = True
        cluster.operator.recovers = False
        cluster.witnesses.set_back()
        for one in chosen.entries:
            change = Change(one.key, one.value, one.create_revision, one.mod_revision)
            cluster.witnesses.restored(change)
        self._asked.clear()
        self._ask()

    def thawed(self) -> None:
        """Nothing that runs was given up for what does not."""
        self.under_way = False
        division = self._division
        for host, machine in self._cluster.machines.items():
            stones = division.assignments.get(host, NOTHING).tombstones
            asked = self._asked.get(host, ())
            record = machine.disk.record
            told = self._orders.of(host, record.epoch) if record else None
            for kin, active in machine.hypervisor.all_active().items():
                taken = active & _named(stones, kin) - _named(asked, kin)
                taken = taken - division.held.get(kin.fleet_uid, EMPTY)
                if told is not None:
                    taken = taken - named_for_removal(told, kin, stop=True)
                fleet = division.fleet(kin.fleet_uid)
                if fleet is not None and (given_up := taken & fleet.wanted):
                    self._cluster.fail(
                        "recovery", f"{given_up} of {fleet.name} run on {host} and are given up"
                    )

    def _ask(self) -> None:
        """The operator looks at what a recovery would do, and says yes to it."""
        cluster = self._cluster
        if not self._division.frozen:
            return
        for host, one in self._division.assignments.items():
            self._asked[host] = (*self._asked.get(host, ()), *one.tombstones)
        patient = cluster.loop.now < self._since + PATIENCE_SECONDS
        cluster.operator.recover(patient=patient)
        cluster.loop.after(ASK_SECONDS, self._ask)

    def _may_use(self, copy: Copy) -> bool:
        new = self._division.hosts.keys() - copy.hosts
        known = copy.uids <= self._uids() and copy.ledgers_lost == self._ledgers_lost()
        return known and not new

    def _uids(self) -> frozenset[str]:
        return frozenset(fleet.uid for fleet in self._division.fleets.values())

    def _ledgers_lost(self) -> int:
        return sum(machine.disk.lost for machine in self._cluster.machines.values())


def _named(stones: tuple[Tombstone, ...], kin: Kin) -> IndexSet:
    return IndexSet.union_of(
        stone.ranges
        for stone in stones
        if stone.fleet == kin.fleet_uid and stone.born_until >= kin.birth
    )
