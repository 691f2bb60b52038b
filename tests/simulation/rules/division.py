"""What each transaction may do to assignments and fleets: nothing is taken without a word, nothing
placed too early, no host over its capacity, no total that nobody asked for."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import Assignment, FleetRecord, Shard, Tombstone
from tests.simulation.doubles.liars import Liars
from tests.simulation.doubles.machine import Machine
from tests.simulation.doubles.operator import BY_TIME, Operator
from tests.simulation.doubles.requests import DELETED, FleetRequests
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.trace import Fail
from tests.simulation.rules.orders import Orders
from tests.simulation.rules.store_view import NOTHING, Moved, StoreView


class Division(Witness):
    """Hears of each change that the store's view has taken in."""

    def __init__(
        self,
        machines: Mapping[str, Machine],
        orders: Orders,
        operator: Operator,
        store: StoreView,
        liars: Liars,
        fail: Fail,
    ) -> None:
        self._machines = machines
        self._orders = orders
        self._operator = operator
        self._store = store
        self._liars = liars
        self._fail = fail

    def fleet_changed(self, before: FleetRecord | None, record: FleetRecord | None) -> None:
        if record is None:
            if before is not None and (not before.deleting or self._store.held.get(before.uid)):
                self._fail("request", f"fleet {before.name} is gone, and was not empty and deleted")
            return
        if before is None or before.uid != record.uid:
            return
        name = record.name
        requests = self._operator.requests.get(name, FleetRequests())
        if record.deleting:
            if not before.deleting and not requests.may_become(DELETED):
                self._fail("request", f"nobody asked that fleet {name} be deleted")
        elif name in BY_TIME:
            return  # of what it may be `schedules` knows
        elif record.total != before.total and not requests.may_become(record.total):
            self._fail(
                "request", f"fleet {name} becomes {record.total} VMs, which nobody still asks for"
            )

    def hosts_reassigned(self, moved: Moved) -> None:
        for host, (old, new) in moved.items():
            self._check_gains(host, old, new)
            if _size(new) > _size(old):
                self._check_room(host, new)
            self._check_losses(host, old, new)
            self._check_stones(host, old, new)

    def host_removed(self, host: str) -> None:
        """What is forgotten with a host is nothing, or has a tombstone until it is back; but for
        orphans, and what a recovered store has never known."""
        if self._store.frozen or host in self._liars.ever:
            return
        left = self._store.assignments.get(host, NOTHING)
        record = self._machines[host].disk.record
        told = self._orders.of(host, record.epoch) if record else None
        if record is None or told is None or record.epoch[0] < self._store.generation:
            return
        if left.shards:
            self._fail("removal", f"{host} is removed and {left.shards} are assigned to it")
        for kin, active in self._machines[host].hypervisor.all_active().items():
            named = IndexSet.union_of(
                stone.ranges
                for stone in left.tombstones
                if stone.fleet == kin.fleet_uid and stone.born_until >= kin.birth
            )
            own = (
                s.ranges for s in told.shards if (s.fleet, s.birth) == (kin.fleet_uid, kin.birth)
            )
            if forgotten := active & IndexSet.union_of(own) - named:
                self._fail("removal", f"{host} is removed, and {forgotten} of {kin} run there")

    def _check_gains(self, host: str, old: Assignment, new: Assignment) -> None:
        had = _by_kin(old)
        for shard in new.shards:
            # What is made anew where it is has been there before.
            if not shard.staged and (coming := shard.ranges - _running(old, shard.fleet)):
                self._check_early(host, shard, coming)
            fresh = shard.ranges - had.get((shard.fleet, shard.birth), EMPTY)
            if not fresh:
                continue
            fleet = self._store.fleet(shard.fleet)
            if fleet is None or (beyond := fresh - fleet.wanted):
                beyond = fresh if fleet is None else beyond
                self._fail("no other", f"{beyond} of {shard.fleet} placed on {host}: not wanted")

    def _check_early(self, host: str, shard: Shard, fresh: IndexSet) -> None:
        """Nothing of these is left, or may come up again, on any host that has a tombstone."""
        for other, assignment in self._store.assignments.items():
            for stone in assignment.tombstones:
                early = (
                    stone.ranges & fresh
                    if stone.fleet == shard.fleet
                    and stone.born_until < shard.birth
                    and not stone.staged  # it never ran there
                    else EMPTY
                )
                if not early or self._store.is_lost(other, shard.fleet):
                    continue
                if not self._has_let_go(other, stone, early):
                    self._fail(
                        "too early",
                        f"{early} of {shard.fleet} placed on {host}, and {other} has not let go",
                    )

    def _has_let_go(self, host: str, stone: Tombstone, indices: IndexSet) -> bool:
        """What a host that lies says to have let go is its own affair."""
        if host in self._liars.ever:
            return True
        machine, uid = self._machines[host], stone.fleet
        runs = any(
            kin.fleet_uid == uid and kin.birth <= stone.born_until and have & indices
            for kin, have in machine.hypervisor.all_active().items()
        )
        record = machine.disk.record
        told = self._orders.of(host, record.epoch) if record else None
        # A ledger that was lost since says nothing, and starts nothing.
        knows = told is None or all(
            not (shard.fleet == uid and shard.ranges & indices) for shard in told.shards
        )
        return knows and not runs

    def _check_room(self, host: str, new: Assignment) -> None:
        used = sum(len(shard.ranges) for shard in new.shards)
        # Some are kept when all is released: they tell what an operator had stopped.
        used += sum(len(stone.ranges) for stone in new.tombstones if not stone.off)
        record = self._store.hosts.get(host)
        if record is not None and used > record.capacity.guests:
            self._fail("capacity", f"{host} is given VMs and would have {used}")

    def _check_losses(self, host: str, old: Assignment, new: Assignment) -> None:
        """What leaves a host leaves a tombstone, and somebody wanted it."""
        have = _by_kin(new)
        for shard in old.shards:
            gone = shard.ranges - have.get((shard.fleet, shard.birth), EMPTY)
            if not gone:
                continue
            self._check_buried(host, shard, gone, new)
            fleet = self._store.fleet(shard.fleet)
            unasked = gone & fleet.wanted if fleet is not None and not shard.staged else EMPTY
            if unasked:
                unasked = unasked - self._asked_for(host, shard, unasked)
            if unasked and not self._store.is_forsaken(host, shard):
                self._fail("request", f"{unasked} of {shard.fleet} taken from {host}, unasked")

    def _asked_for(self, host: str, shard: Shard, indices: IndexSet) -> IndexSet:
        """What else than a smaller total may take an index from a host, or change its birth there:
        those of `indices`, which left this shard, that somebody asked for."""
        return (
            self._moving(host, shard, indices)
            | self._remade(host, shard, indices)
            | self._given_up(host, shard, indices)
        )

    def _given_up(self, host: str, shard: Shard, indices: IndexSet) -> IndexSet:
        """Of a host that was removed by force, or is lost and drained by force."""
        gone = self._store.is_lost(host, shard.fleet)
        return indices if gone and host in self._operator.given_up else EMPTY

    def _moving(self, host: str, shard: Shard, indices: IndexSet) -> IndexSet:
        """Of a host that was drained, or a fleet that was rebalanced: what another has cloned and
        defined."""
        fleet = self._store.fleet(shard.fleet)
        rebalanced = fleet is not None and fleet.name in self._operator.rebalanced
        if host not in self._operator.drained and not rebalanced:
            return EMPTY
        return indices & IndexSet.union_of(
            other.ranges
            for name, assignment in self._store.assignments.items()
            for other in assignment.shards
            if name != host and other.fleet == shard.fleet and other.staged
        )

    def _remade(self, host: str, shard: Shard, indices: IndexSet) -> IndexSet:
        """Made anew where it is, in a fleet of which that was asked."""
        fleet = self._store.fleet(shard.fleet)
        if fleet is None or fleet.name not in self._operator.remade:
            return EMPTY
        return indices & IndexSet.union_of(
            other.ranges
            for other in self._store.assignments[host].shards
            if other.fleet == shard.fleet and other.birth > shard.birth
        )

    def _check_buried(self, host: str, shard: Shard, gone: IndexSet, new: Assignment) -> None:
        for stone in new.tombstones:
            if stone.fleet == shard.fleet and stone.born_until >= shard.birth:
                gone = gone - stone.ranges
        for other in new.shards:
            if other.fleet == shard.fleet and other.birth > shard.birth:
                gone = gone - other.ranges
        if gone:
            self._fail("tombstone", f"{gone} of {shard.fleet} taken from {host} without one")

    def _check_stones(self, host: str, old: Assignment, new: Assignment) -> None:
        """A tombstone goes when nothing that it names runs there."""
        if host in self._liars.ever:
            return
        kept = {stone.id for stone in new.tombstones}
        active = self._machines[host].hypervisor.all_active()
        for stone in old.tombstones:
            if stone.id in kept:
                continue
            for kin, have in active.items():
                if kin.fleet_uid != stone.fleet or kin.birth > stone.born_until:
                    continue
                left = have & stone.ranges
                for shard in new.shards:
                    if shard.fleet == kin.fleet_uid and shard.birth == kin.birth:
                        left = left - shard.ranges
                if left:
                    self._fail("tombstone", f"{host} forgets to release {left} of {stone.fleet}")


def _size(assignment: Assignment) -> int:
    return sum(len(shard.ranges) for shard in assignment.shards)


def _running(assignment: Assignment, fleet: str) -> IndexSet:
    return IndexSet.union_of(
        shard.ranges for shard in assignment.shards if shard.fleet == fleet and not shard.staged
    )


def _by_kin(assignment: Assignment) -> dict[tuple[str, int], IndexSet]:
    found: dict[tuple[str, int], IndexSet] = {}
    for shard in assignment.shards:
        key = (shard.fleet, shard.birth)
        found[key] = found.get(key, EMPTY) | shard.ranges
    return found
