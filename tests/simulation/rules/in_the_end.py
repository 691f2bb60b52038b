"""In the end all runs that fits, the rest has a reason, and nothing else is left anywhere."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.ranges import EMPTY, IndexSet
from tests.simulation.doubles.machine import Machine
from tests.simulation.doubles.operator import Operator
from tests.simulation.rules.one_copy import OneCopy
from tests.simulation.rules.store_view import NOTHING, StoreView


class InTheEnd:
    """Looks at a cluster that nothing troubles any more."""

    def __init__(
        self,
        machines: Mapping[str, Machine],
        operator: Operator,
        store: StoreView,
        copies: OneCopy,
        capacity: int,
    ) -> None:
        """`capacity`: how many VMs all hosts admit together."""
        self._machines = machines
        self._operator = operator
        self._store = store
        self._copies = copies
        self._capacity = capacity

    def missing(self) -> str:
        """What is not yet as it was asked for; empty when all is."""
        found = self._operator.leading()
        if found is None:
            return "nobody leads"
        leading = found[1]
        if lost := [record.id for record in self._store.hosts.values() if record.lost]:
            return f"{', '.join(lost)} are still lost"
        if twice := self._copies.twice():
            return f"{len(twice)} VMs run twice"
        wanted: dict[str, IndexSet] = {}
        unplaced = 0
        for fleet in self._store.fleets.values():
            if fleet.deleting:
                return f"fleet {fleet.name} is still being deleted"
            requests = self._operator.requests.get(fleet.name)
            if requests and not requests.may_be(fleet.total):
                return f"fleet {fleet.name} is to have {fleet.total}, and {requests.stands} stands"
            held = self._store.held.get(fleet.uid, EMPTY)
            wanted[fleet.uid] = held
            rest = fleet.wanted - held
            plan = leading.planning.plans.get(fleet.name)
            told = IndexSet.union_of(one.indices for one in plan.unplaced) if plan else EMPTY
            if held - fleet.wanted or rest != told:
                return f"fleet {fleet.name} is to have {fleet.total}: {held} placed, {told} not"
            unplaced += len(rest)
        placed = sum(map(len, wanted.values()))
        strays = {host: stray for host in self._machines if (stray := self.strays(host))}
        if unplaced and placed + sum(strays.values()) < self._capacity:
            return f"{unplaced} VMs are not placed and there is room for them"
        for uid, held in wanted.items():
            if missing := held - self._copies.running(uid) - self._blocked(uid):
                return f"{missing} of {uid} do not run"
        if len(self._copies.holders) > placed and self._store.generation == 1:
            return f"{len(self._copies.holders) - placed} VMs run that nobody wants"
        # Without its ledger an agent does not know what it has let go before, and what a recovered
        # store has never known is left alone.
        left = [host for host in strays if not self._machines[host].disk.lost]
        if left and self._store.generation == 1:
            return f"VMs are left on {', '.join(left)} that nobody wants"
        if any(leading.memory.observed.releasing.values()):
            return "tombstones are not acknowledged"
        if leading.memory.observed.converged != len(self._machines):
            return f"only {leading.memory.observed.converged} hosts say that all is done"
        return ""

    def _blocked(self, uid: str) -> IndexSet:
        """What a recovered store wants of a host that has a later life of the same VM, or under its
        name one of a fleet that the store has forgotten."""
        fleet = self._store.fleet(uid)
        if self._store.generation == 1 or fleet is None:
            return EMPTY
        return IndexSet.union_of(
            shard.ranges & have
            for host, machine in self._machines.items()
            for kin, have in machine.named(fleet.name).items()
            for shard in self._store.assignments.get(host, NOTHING).shards
            if shard.fleet == uid
            if kin.birth > shard.birth or self._store.fleet(kin.fleet_uid) is None
        )

    def strays(self, host: str) -> int:
        """VMs on the host, or what there is of them, that are not its own: they take its room."""
        shards = self._store.assignments.get(host, NOTHING).shards
        return sum(
            len(
                have
                - IndexSet.union_of(
                    shard.ranges
                    for shard in shards
                    if (shard.fleet, shard.birth) == (kin.fleet_uid, kin.birth)
                )
            )
            for kin, have in self._machines[host].all_that_exists().items()
        )
