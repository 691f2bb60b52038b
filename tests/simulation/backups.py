"""An etcd that is restored from a backup while hosts go on, and the operator who recovers from it.

From the moment it is set back until changes are taken again nothing may be decided, and no VM may
be stopped for it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from fleet_controller.store.port import Change, Snapshot
from tests.simulation.doubles.cluster import SimulatedCluster
from tests.simulation.rules.store_view import StoreView

COPY_SECONDS = 15.0
COPIES = 8
ASK_SECONDS = 5.0
# An operator waits so long for hosts that are not heard, before they are given up.
PATIENCE_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Copy:
    """A backup; and what must be as it was then for it to be of use."""

    snapshot: Snapshot
    uids: frozenset[str]
    hosts: frozenset[str]
    ledgers_lost: int


class Backups:
    """The newest ones of one cluster, as `store` is known to be."""

    def __init__(self, cluster: SimulatedCluster, store: StoreView) -> None:
        self._cluster = cluster
        self._store = store
        self._copies: deque[Copy] = deque(maxlen=COPIES)
        self._since = 0.0  # when the store was set back last

    def make(self) -> None:
        """Backups, again and again."""
        cluster = self._cluster
        if not self._store.frozen and not cluster.etcd.down:
            self._copies.append(self._copy())
        cluster.loop.after(COPY_SECONDS, self.make)

    def _copy(self) -> Copy:
        hosts = frozenset(self._store.hosts)
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
        if not usable or self._store.frozen:
            return
        cluster, chosen = self._cluster, usable[int(which * len(usable))].snapshot
        cluster.note("store", f"set back from {cluster.etcd.revision} to {chosen.revision}")
        cluster.etcd.set_back(chosen)
        self._copies.clear()
        self._since = cluster.loop.now
        cluster.witnesses.store_set_back()
        for one in chosen.entries:
            change = Change(one.key, one.value, one.create_revision, one.mod_revision)
            cluster.witnesses.record_restored(change)
        self._ask()

    def _ask(self) -> None:
        """The operator looks at what a recovery would do, and says yes to it."""
        cluster = self._cluster
        if not self._store.frozen:
            return
        patient = cluster.loop.now < self._since + PATIENCE_SECONDS
        cluster.operator.recover(patient=patient)
        cluster.loop.after(ASK_SECONDS, self._ask)

    def _may_use(self, copy: Copy) -> bool:
        new = self._store.hosts.keys() - copy.hosts
        known = copy.uids <= self._uids() and copy.ledgers_lost == self._ledgers_lost()
        return known and not new

    def _uids(self) -> frozenset[str]:
        return frozenset(fleet.uid for fleet in self._store.fleets.values())

    def _ledgers_lost(self) -> int:
        return sum(machine.disk.lost for machine in self._cluster.machines.values())
