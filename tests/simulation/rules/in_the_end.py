"""In the end all runs that fits, where its fleet allows it; the rest has a reason, and nothing
else is left anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import Assignment, FleetRecord
from fleet_controller.replica.leader import Leader
from tests.simulation.doubles.liars import Liars
from tests.simulation.doubles.machine import Machine
from tests.simulation.doubles.operator import BY_TIME, Operator
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
        liars: Liars,
        capacity: int,
    ) -> None:
        """`capacity`: how many VMs all hosts admit together."""
        self._machines = machines
        self._operator = operator
        self._store = store
        self._copies = copies
        self._liars = liars
        self._admits = capacity // len(machines)  # a host, whatever it says

    def missing(self) -> str:
        """What is not yet as it was asked for; empty when all is."""
        found = self._operator.leading()
        return "nobody leads" if found is None else next(self._all_missing(found[1]), "")

    def _all_missing(self, leading: Leader) -> Iterator[str]:
        if lost := [record.id for record in self._store.hosts.values() if record.lost]:
            yield f"{', '.join(lost)} are still lost"
        if twice := self._copies.twice():
            yield f"{len(twice)} VMs run twice"
        for fleet in self._store.fleets.values():
            yield from self._of_fleet(fleet, leading)
        held = {fleet.uid: self._held(fleet) for fleet in self._store.fleets.values()}
        strays = {host: stray for host in self._machines if (stray := self.strays(host))}
        yield from self._of_places(held, strays)
        for fleet in self._store.fleets.values():
            yield from self._of_bounds(fleet, strays)
        if self._store.generation == 1:
            yield from self._left_over(sum(map(len, held.values())), strays)
        yield from self._untold()
        if any(leading.memory.observed.releasing.values()):
            yield "tombstones are not acknowledged"
        if leading.memory.observed.converged != len(self._machines):
            yield f"only {leading.memory.observed.converged} hosts say that all is done"

    def _untold(self) -> Iterator[str]:
        """Whatever a host is told of a generation is what the store says of it: settings change
        without another one."""
        for host, machine in self._machines.items():
            told = machine.agent.assignment.specs if machine.agent else {}
            if any(self._store.specs.get(key) not in (None, spec) for key, spec in told.items()):
                yield f"{host} was not told of settings that have changed"

    def _of_fleet(self, fleet: FleetRecord, leading: Leader) -> Iterator[str]:
        """Its total is what was asked for, and what is not placed has a reason."""
        if fleet.deleting:
            yield f"fleet {fleet.name} is still being deleted"
        requests = self._operator.requests.get(fleet.name)
        if requests and fleet.name not in BY_TIME and not requests.may_be(fleet.total):
            yield f"fleet {fleet.name} is to have {fleet.total}, and {requests.stands} stands"
        held, plan = self._held(fleet), leading.planning.plans.get(fleet.name)
        told = IndexSet.union_of(one.indices for one in plan.unplaced) if plan else EMPTY
        if held - fleet.wanted or fleet.wanted - held != told:
            yield f"fleet {fleet.name} is to have {fleet.total}: {held} placed, {told} not"

    def to_rebalance(self) -> list[str]:
        """Fleets with VMs beyond what they allow on a host, which nobody is moving."""
        found = self._operator.leading()
        under_way = found[1].memory.state.rebalances if found is not None else {}
        return [
            fleet.name
            for fleet in self._store.fleets.values()
            if fleet.uid not in under_way and not fleet.deleting and any(self._beyond(fleet))
        ]

    def _of_bounds(self, fleet: FleetRecord, strays: Mapping[str, int]) -> Iterator[str]:
        """What is beyond a bound has no other place."""
        if (beyond := sum(self._beyond(fleet))) and self._has_room(fleet, strays):
            yield f"{beyond} VMs of {fleet.name} are beyond its per_host, and there is room"

    def _beyond(self, fleet: FleetRecord) -> Iterator[int]:
        """VMs beyond the fleet's per_host, by host."""
        if most := self._per_host(fleet):
            for assignment in self._store.assignments.values():
                yield max(0, _count(assignment, fleet.uid) - most)

    def _has_room(self, fleet: FleetRecord, strays: Mapping[str, int]) -> bool:
        """Whether some host may have more VMs of the fleet."""
        most = self._per_host(fleet)
        for host, record in self._store.hosts.items():
            assignment = self._store.assignments.get(host, NOTHING)
            used = sum(len(shard.ranges) for shard in assignment.shards) + strays.get(host, 0)
            within = not most or _count(assignment, fleet.uid) < most
            if within and used < min(record.capacity.guests, self._admits):
                return True
        return False

    def _per_host(self, fleet: FleetRecord) -> int:
        spec = self._store.specs.get((fleet.uid, fleet.generation))
        return spec.placement.per_host if spec is not None else 0

    def _of_places(self, held: Mapping[str, IndexSet], strays: Mapping[str, int]) -> Iterator[str]:
        """All room is taken before anything has none, and what has a place runs."""
        for fleet in self._store.fleets.values():
            unplaced = fleet.total - len(held[fleet.uid])
            if unplaced > 0 and self._has_room(fleet, strays):
                yield f"{unplaced} VMs of {fleet.name} are not placed and there is room for them"
        for uid, indices in held.items():
            if missing := indices - self._copies.running(uid) - self._blocked(uid):
                yield f"{missing} of {uid} do not run"

    def _left_over(self, placed: int, strays: Mapping[str, int]) -> Iterator[str]:
        """Nobody wants it. What a recovered store has never known is left alone, and without its
        ledger an agent does not know what it has let go before; neither does one in whose name
        somebody else has said so."""
        strays = {host: stray for host, stray in strays.items() if host not in self._liars.ever}
        if not self._liars.ever and len(self._copies.holders) > placed:
            yield f"{len(self._copies.holders) - placed} VMs run that nobody wants"
        if left := [host for host in strays if not self._machines[host].disk.lost]:
            yield f"VMs are left on {', '.join(left)} that nobody wants"

    def _held(self, fleet: FleetRecord) -> IndexSet:
        return self._store.held.get(fleet.uid, EMPTY)

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


def _count(assignment: Assignment, uid: str) -> int:
    return sum(len(shard.ranges) for shard in assignment.shards if shard.fleet == uid)
