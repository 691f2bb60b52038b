"""Hosts of a pure world: each obeys the last assignment it was told, and reports when asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import (
    Assignment,
    Capacity,
    ClusterView,
    FleetRecord,
    HostRecord,
    HostView,
    ObservedFleet,
    OrdersRecord,
    RebalanceRecord,
    RolloutRecord,
)
from fleet_controller.core.passes import Pass, decide

UID = "0b8f3f0e-3c1a-4b57-9a43-5d2f6f0a1c11"
FLEET = FleetRecord("spv", UID, 1, total=0)

NOTHING = Assignment()


@dataclass
class Host:
    """`exists`: births of what is defined, by index. The rest is what the leader knows of it."""

    record: HostRecord
    stored: Assignment = NOTHING
    told: Assignment = NOTHING
    exists: dict[int, int] = field(default_factory=dict)
    running: set[int] = field(default_factory=set)
    reachable: bool = True
    released: frozenset[int] = frozenset()
    prepared: tuple[tuple[str, int, IndexSet], ...] = ()

    def obey(self) -> None:
        """Takes over what is stored, and does all of it."""
        self.told = self.stored
        wanted = {i: shard for shard in self.told.shards for i in shard.ranges}
        for index, birth in list(self.exists.items()):
            mine = wanted.get(index)
            buried = any(
                index in stone.ranges and birth <= stone.born_until
                for stone in self.told.tombstones
            )
            if (mine and mine.birth > birth) or (buried and not (mine and mine.birth == birth)):
                del self.exists[index]
                self.running.discard(index)
        for index, shard in wanted.items():
            if self.exists.setdefault(index, shard.birth) != shard.birth:
                continue
            on = shard.power and not shard.staged
            (self.running.add if on else self.running.discard)(index)

    def report(self) -> None:
        """Of the assignment it was told: what is let go, and what is prepared."""
        self.released = frozenset(
            stone.id
            for stone in self.told.tombstones
            if not any(
                i in stone.ranges and birth <= stone.born_until and not self._is_wanted(i, birth)
                for i, birth in self.exists.items()
            )
        )
        self.prepared = tuple(
            (
                shard.fleet,
                shard.birth,
                IndexSet.of(i for i in shard.ranges if self.exists.get(i) == shard.birth),
            )
            for shard in self.told.shards
            if shard.staged
        )

    def is_as_stored(self, index: int) -> bool:
        """Whether what exists is what is stored by now, and not what was there before."""
        birth = self.exists.get(index)
        return any(index in s.ranges and s.birth == birth for s in self.stored.shards)

    def _is_wanted(self, index: int, birth: int) -> bool:
        return any(index in s.ranges and s.birth == birth for s in self.told.shards)


class World:
    """A store, a leader that decides when told to, and hosts."""

    def __init__(self, capacities: Iterable[int], racks: int = 2) -> None:
        self.hosts = {
            f"h{n}": Host(
                HostRecord(
                    f"h{n}", f"h{n}:1", labels={"rack": f"r{n % racks}"},
                    capacity=Capacity(guests),
                )
            )
            for n, guests in enumerate(capacities)
        }  # fmt: skip
        self.fleet = FLEET
        self.specs = {(UID, 1): types.FleetSpec(memory_bytes=4 << 20)}
        self.rollouts: dict[str, RolloutRecord] = {}
        self.orders: dict[str, OrdersRecord] = {}
        self.begun_anew: dict[str, int] = {}
        self.leader_is_new = False
        self.rebalances: dict[str, RebalanceRecord] = {}
        self.failing: set[int] = set()  # indices that never come up
        self.unsteady: set[int] = set()  # indices that have not run for long enough
        self.now = 0.0
        self.revision = 100

    def view(self) -> ClusterView:
        running = {i for host in self.hosts.values() for i in host.running if host.is_as_stored(i)}
        return ClusterView(
            self.revision,
            {
                name: HostView(
                    host.record,
                    host.stored,
                    host.reachable,
                    host.released & {stone.id for stone in host.stored.tombstones},
                    (),
                    host.prepared if host.reachable else (),
                )
                for name, host in self.hosts.items()
            },
            {"spv": self.fleet},
            self.specs,
            self.rollouts,
            {
                UID: ObservedFleet(
                    IndexSet.of(running - self.failing),
                    IndexSet.of(self.failing),
                    steady=IndexSet.of(running - self.failing - self.unsteady),
                )
            },
            orders=self.orders,
            begun_anew=self.begun_anew,
            begun_unknown=self.leader_is_new,
            rebalances=self.rebalances,
            now=self.now,
        )

    def decide(self, most: int = 250) -> Pass:
        return decide(self.view(), most)

    def write(self, decided: Pass, landing: Iterable[str] | None = None) -> None:
        """Store the assignments of these hosts; all when not given."""
        for name in decided.assignments if landing is None else landing:
            if name in decided.assignments:
                self.hosts[name].stored = decided.assignments[name]
                self.revision += 1
        for over in decided.orders_over:
            del self.orders[over.fleet]
            if over.left:
                self.orders[over.fleet] = over.left
        for record in decided.rollouts:
            self.rollouts[record.fleet] = record
            self.fleet = decided.fleets.get(record.fleet, self.fleet)
        for uid, progress in decided.rebalances.items():
            if progress.is_over:
                self.rebalances.pop(uid)

    def step(self, most: int = 250) -> Pass:
        """A pass, and everybody who can be reached does it and says so."""
        decided = self.decide(most)
        self.write(decided)
        self.settle()
        return decided

    def settle(self) -> None:
        for host in self.hosts.values():
            if host.reachable:
                host.obey()
                host.report()
        self.check()

    def set_record(self, name: str, **fields: object) -> None:
        host = self.hosts[name]
        host.record = msgspec.structs.replace(host.record, **fields)
        self.revision += 1

    def scale(self, total: int) -> None:
        self.fleet = msgspec.structs.replace(self.fleet, total=total)
        self.revision += 1

    def held(self, name: str) -> IndexSet:
        return IndexSet.union_of(s.ranges for s in self.hosts[name].stored.shards if not s.staged)

    def staged(self, name: str) -> IndexSet:
        return IndexSet.union_of(s.ranges for s in self.hosts[name].stored.shards if s.staged)

    @property
    def placed(self) -> IndexSet:
        return IndexSet.union_of(self.held(name) for name in self.hosts)

    def check(self) -> None:
        """What holds at every instant, whatever has been written or heard so far."""
        seen: set[int] = set()
        held = EMPTY
        for name, host in self.hosts.items():
            if not host.record.lost:
                assert not seen & host.running, f"{seen & host.running} run twice"
                seen |= host.running
            mine = self.held(name)
            assert held.isdisjoint(mine), "assigned twice"
            held = held | mine
            pending = sum(len(t.ranges) for t in host.stored.tombstones
                          if t.id not in host.released)  # fmt: skip
            load = sum(len(s.ranges) for s in host.stored.shards) + pending
            assert load <= host.record.capacity.guests, "over capacity"
