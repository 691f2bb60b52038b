"""While hosts lie, what concerns the others goes on: what is asked for is done in its time, and
what is wanted and fits the honest hosts is placed there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import Assignment, Shard, Tombstone
from fleet_controller.replica.leader import Leader
from fleet_controller.store.keys import LEADER
from tests.simulation.doubles.etcd import Etcd
from tests.simulation.doubles.liars import Liars
from tests.simulation.doubles.machine import Machine
from tests.simulation.doubles.operator import Operator
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.trace import Fail
from tests.simulation.rules.store_view import NOTHING, StoreView
from tests.simulation.rules.troubles import Troubles

# What is wanted, fits and has nothing in its way is placed within this time: a pass, and the
# transactions of a change of all hosts.
PLACED_SECONDS = 45.0
# Whoever was stopped, cut off or superseded has learned that by then.
SETTLED_SECONDS = 15.0


class Unhindered(Witness):
    """Looks every second, and hears how requests end. Only while store and network are well, one
    replica leads all the time and all others run, and some host lies."""

    def __init__(
        self,
        clock: Callable[[], float],
        etcd: Etcd,
        machines: Mapping[str, Machine],
        operator: Operator,
        store: StoreView,
        troubles: Troubles,
        liars: Liars,
        fail: Fail,
    ) -> None:
        self._clock = clock
        self._etcd = etcd
        self._machines = machines
        self._operator = operator
        self._store = store
        self._troubles = troubles
        self._liars = liars
        self._fail = fail
        self._leader: Leader | None = None  # the leadership
        self._calm = clock()  # since when nothing else stands in the way of requests
        self._waits: dict[tuple[str, int], float] = {}  # VMs that could be placed, since when

    def lease_ended(self, term: int) -> None:
        self._calm = self._clock()

    def request_ended(self, words: str, began: float, why: str) -> None:
        """Who was superseded and does not know it yet refuses too, for what honest hosts say."""
        blamed = "Timeout" in why or any(host in why for host in self._liars.since)
        if blamed and self._calm < began - SETTLED_SECONDS:
            self._fail("accepted", f"{words}: {why}, while {self._names()} lies")

    def look(self) -> None:
        now, found = self._clock(), self._operator.leading()
        leader = found[1] if found is not None and self._is_well(found[1]) else None
        if leader is None or leader is not self._leader:
            self._calm = now
        self._leader = leader
        waiting = self._waiting() if leader and self._liars.since else {}
        self._waits = {vm: self._waits.get(vm, now) for vm in waiting}
        for (uid, index), since in self._waits.items():
            if now - max(since, self._calm) > PLACED_SECONDS:
                self._fail(
                    "placed", f"{index} of {uid} has room and no place: {self._names()} lies"
                )
                return

    def _is_well(self, leader: Leader) -> bool:
        leads = self._etcd.created(LEADER) == leader.memory.term.revision
        could = all(map(self._troubles.could_lead, self._operator.controllers))
        return leads and could and not self._store.frozen

    def _names(self) -> str:
        told = {name for lies in self._liars.lies.values() for name in lies}
        return f"{', '.join(self._liars.since)} ({', '.join(sorted(told))})"

    def _waiting(self) -> dict[tuple[str, int], None]:
        """VMs that have no place, of which no honest host has anything left, where all honest hosts
        together have room for all of them."""
        left = {
            fleet.uid: fleet.wanted - self._taken(fleet.uid)
            for fleet in self._store.fleets.values()
            if not fleet.deleting
        }
        unplaced = sum(
            len(fleet.wanted - self._store.held.get(fleet.uid, EMPTY))
            for fleet in self._store.fleets.values()
        )
        if not unplaced or unplaced > sum(map(self._room, self._machines)):
            return {}
        return {(uid, span[0]): None for uid, indices in left.items() for span in indices.ranges}

    def _taken(self, uid: str) -> IndexSet:
        """What of the fleet is placed, is to be released, or is on a host in whatever shape."""
        placed = (
            part.ranges
            for assignment in self._store.assignments.values()
            for part in _parts(assignment)
            if part.fleet == uid
        )
        there = (
            have
            for machine in self._machines.values()
            for kin, have in machine.all_that_exists().items()
            if kin.fleet_uid == uid
        )
        return IndexSet.union_of((*placed, *there))

    def _room(self, host: str) -> int:
        """What an honest host that nothing troubles surely has room for."""
        machine, record = self._machines[host], self._store.hosts.get(host)
        if record is None or host in self._liars.ever or not self._troubles.leaves_alone(machine):
            return 0
        if record.lost or record.cordoned or record.draining or record.quarantine:
            return 0
        assignment = self._store.assignments.get(host, NOTHING)
        given = sum(len(part.ranges) for part in _parts(assignment))
        there = sum(map(len, machine.all_that_exists().values()))
        return max(0, machine.capacity - max(given, there))


def _parts(assignment: Assignment) -> Sequence[Shard | Tombstone]:
    return (*assignment.shards, *assignment.tombstones)
