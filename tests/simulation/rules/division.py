"""What the store says at every revision: each index in one place, nothing taken without a word,
nothing placed too early, no host over its capacity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from fleet.keys import Epoch, Kin
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import (
    Assignment,
    FleetRecord,
    HostRecord,
    Meta,
    Shard,
    Tombstone,
)
from fleet_controller.store import keys
from fleet_controller.store.codec import decode, decode_spec
from fleet_controller.store.port import Change
from tests.simulation.doubles.machine import Machine
from tests.simulation.doubles.operator import Operator
from tests.simulation.doubles.requests import DELETED, FleetRequests
from tests.simulation.doubles.witness import Witness
from tests.simulation.rules.one_copy import Fail, Orders

T = TypeVar("T", bound=msgspec.Struct)
NOTHING = Assignment()
DECIDED = frozenset({"assignments", "fleets", "rollouts", "gone", "breaker"})


class Division(Witness):
    """What the store says now. `witness` hears what becomes of hosts by it."""

    def __init__(
        self,
        machines: Mapping[str, Machine],
        orders: Orders,
        operator: Operator,
        witness: Witness,
        fail: Fail,
    ) -> None:
        self._machines = machines
        self._orders = orders
        self._operator = operator
        self._witness = witness
        self._fail = fail
        self.hosts: dict[str, HostRecord] = {}
        self.fleets: dict[str, FleetRecord] = {}  # by name
        self.assignments: dict[str, Assignment] = {}
        self.held: dict[str, IndexSet] = {}  # by fleet uid: what runs somewhere, staged aside
        self.generation = 1  # of the store
        self.frozen = False  # the store was set back, and nobody has recovered from that yet
        self.ever_lost: set[str] = set()
        self.unknown: set[str] = set()  # hosts that are known no more
        self._revisions: dict[str, int] = {}  # that of each host's assignment
        # Hosts that had not been told what they gave up when the store was set back, and what
        # generation it was of then.
        self._unaware: dict[str, int] = {}
        self.on_loss: dict[tuple[str, int], int] = {}  # by fleet uid and generation
        self.stop_after: dict[tuple[str, int], float] = {}  # the same, seconds

    def fleet(self, uid: str) -> FleetRecord | None:
        return next((one for one in self.fleets.values() if one.uid == uid), None)

    def is_lost(self, host: str, uid: str) -> bool:
        """Whether the host was declared lost, and what it held may run elsewhere."""
        record = self.hosts.get(host)
        return record.lost if record is not None else host in self.unknown

    def may_not_know(self, host: str) -> bool:
        """Whether the host was ever declared lost, and has not been told yet what it gave up."""
        if host not in self.ever_lost:
            return False
        record = self._machines[host].disk.record
        if record is None or record.epoch[0] <= self._unaware.get(host, 0):
            return True
        revision = self._revisions.get(host, 0)
        return revision > 0 and record.epoch < Epoch(self.generation, revision)

    def is_forsaken(self, host: str, shard: Shard) -> bool:
        """Whether the host was declared lost and these VMs do not wait for it."""
        rule = self.on_loss.get((shard.fleet, shard.generation))
        return self.is_lost(host, shard.fleet) and rule == types.ON_LOSS_REPLACE

    def waits(self, kin: Kin) -> bool:
        """Whether these VMs wait for a lost host."""
        return self.on_loss.get((kin.fleet_uid, kin.generation)) == types.ON_LOSS_WAIT

    def set_back(self) -> None:
        """What the store says is heard from its beginning, and holds again once an operator has
        recovered from that."""
        self.frozen = True
        for host in self._machines:
            if self.is_lost(host, "") or self.may_not_know(host):
                self._unaware[host] = self.generation
        # What was said of VMs that the store has forgotten still holds where they are.
        for known in (self.hosts, self.fleets, self.assignments, self.held, self._revisions):
            known.clear()
        self.unknown = set(self._machines)

    def restored(self, change: Change) -> None:
        self._hear(change.mod_revision, [change])

    def written(self, revision: int, changes: Sequence[Change]) -> None:
        if self.frozen and not self._operator.recovers:
            self._check_frozen(changes)
        self._hear(revision, changes)

    def _hear(self, revision: int, changes: Sequence[Change]) -> None:
        self._take(revision, changes)
        thawed = any(one.key == keys.FREEZE and one.value is None for one in changes)
        if self.frozen and thawed:
            self._thaw()
        elif not self.frozen and any(one.key == keys.FREEZE for one in changes):
            self._fail("frozen", "changes are frozen, and the store was never set back")

    def _check_frozen(self, changes: Sequence[Change]) -> None:
        """Nothing is decided before an operator has said what holds."""
        for change in changes:
            if change.key.partition("/")[0] in DECIDED:
                self._fail("frozen", f"{change.key} is written while changes are frozen")

    def _thaw(self) -> None:
        self.frozen = False
        for host, assignment in self.assignments.items():
            self._orders.note(host, Epoch(self.generation, self._revisions[host]), assignment)
            self._hold(host, assignment)
        self._witness.thawed()

    def _take(self, revision: int, changes: Sequence[Change]) -> None:
        moved: dict[str, tuple[Assignment, Assignment]] = {}
        for change in changes:
            kind, _, rest = change.key.partition("/")
            if kind == "assignments":
                new = _read(Assignment, change) or NOTHING
                moved[rest] = (self.assignments.get(rest, NOTHING), new)
                self.assignments[rest] = new
                if not self.frozen:
                    self._orders.note(rest, Epoch(self.generation, revision), new)
                self._revisions[rest] = revision if change.value is not None else 0
            elif kind == "hosts":
                self._take_host(rest, _read(HostRecord, change))
            elif change.key == keys.META and change.value is not None:
                self.generation = decode(Meta, change.key, change.value).generation
            elif (spec := keys.spec_of(change.key)) and change.value is not None:
                told = decode_spec(change.key, change.value)
                self.on_loss[spec] = told.on_loss
                self.stop_after[spec] = told.on_isolation_stop_after_seconds
            elif kind == "fleets" and spec is None:
                self._take_fleet(rest, _read(FleetRecord, change))
        if self.frozen:
            return
        if moved:
            self._take_assignments(revision, moved)
        for change in changes:
            if change.key.startswith(keys.HOSTS) and change.value is None:
                self._check_removal(change.key.removeprefix(keys.HOSTS))

    def _take_host(self, host: str, record: HostRecord | None) -> None:
        if record is None:
            self.hosts.pop(host)
            self.unknown.add(host)
            self.ever_lost.add(host)
            self._witness.removed(host)
            return
        before = self.hosts.get(host)
        self.hosts[host] = record
        if host in self.unknown:
            self.unknown.discard(host)
            if not self.frozen:
                self._witness.returned(host)
        if self.frozen and record.lost:
            self.ever_lost.add(host)
            self._witness.lost_while_frozen(host)
        elif record.lost != (before is not None and before.lost):
            self.ever_lost.add(host)
            self._witness.verdict(record, record.lost)

    def _take_fleet(self, name: str, record: FleetRecord | None) -> None:
        before = self.fleets.get(name)
        if self.frozen and record is not None:
            self.fleets[name] = record
            return
        if record is None:
            self.fleets.pop(name, None)
            if before is not None and (not before.deleting or self.held.get(before.uid)):
                self._fail("request", f"fleet {name} is gone, and was not empty and deleted")
            return
        self.fleets[name] = record
        requests = self._operator.requests.get(name, FleetRequests())
        if before is None or before.uid != record.uid:
            requests.begin_anew()
            return
        if record.deleting and not before.deleting and not requests.may_become(DELETED):
            self._fail("request", f"nobody asked that fleet {name} be deleted")
        if (
            not record.deleting
            and record.total != before.total
            and not requests.may_become(record.total)
        ):
            self._fail(
                "request", f"fleet {name} becomes {record.total} VMs, which nobody still asks for"
            )

    def _take_assignments(
        self, revision: int, moved: Mapping[str, tuple[Assignment, Assignment]]
    ) -> None:
        for old, _ in moved.values():
            for shard in old.shards:
                if not shard.staged:
                    self.held[shard.fleet] = self.held[shard.fleet] - shard.ranges
        for host, (_, new) in moved.items():
            self._hold(host, new)
        for host, (old, new) in moved.items():
            self._check_gains(host, old, new)
            if _size(new) > _size(old):
                self._check_room(host, new)
            self._check_losses(host, old, new)
            self._check_stones(host, old, new)

    def _hold(self, host: str, assignment: Assignment) -> None:
        for shard in assignment.shards:
            if shard.staged:
                continue
            held = self.held.get(shard.fleet, EMPTY)
            if twice := held & shard.ranges:
                self._fail("one place", f"{twice} of {shard.fleet} in {host} and elsewhere")
            self.held[shard.fleet] = held | shard.ranges

    def _check_gains(self, host: str, old: Assignment, new: Assignment) -> None:
        had = _by_kin(old)
        for shard in new.shards:
            # What is made anew where it is has been there before.
            if not shard.staged and (coming := shard.ranges - _running(old, shard.fleet)):
                self._check_early(host, shard, coming)
            fresh = shard.ranges - had.get((shard.fleet, shard.birth), EMPTY)
            if not fresh:
                continue
            fleet = self.fleet(shard.fleet)
            if fleet is None or (beyond := fresh - fleet.wanted):
                beyond = fresh if fleet is None else beyond
                self._fail("no other", f"{beyond} of {shard.fleet} placed on {host}: not wanted")

    def _check_early(self, host: str, shard: Shard, fresh: IndexSet) -> None:
        """Nothing of these is left, or may come up again, on any host that has a tombstone."""
        for other, assignment in self.assignments.items():
            for stone in assignment.tombstones:
                early = (
                    stone.ranges & fresh
                    if stone.fleet == shard.fleet
                    and stone.born_until < shard.birth
                    and not stone.staged  # it never ran there
                    else EMPTY
                )
                if not early or self.is_lost(other, shard.fleet):
                    continue
                if not self._has_let_go(other, stone, early):
                    self._fail(
                        "too early",
                        f"{early} of {shard.fleet} placed on {host}, and {other} has not let go",
                    )

    def _has_let_go(self, host: str, stone: Tombstone, indices: IndexSet) -> bool:
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
        record = self.hosts.get(host)
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
            fleet = self.fleet(shard.fleet)
            unasked = gone & fleet.wanted if fleet is not None and not shard.staged else EMPTY
            if unasked:
                unasked = unasked - self._asked_for(host, shard, unasked)
            if unasked and not self.is_forsaken(host, shard):
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
        gone = self.is_lost(host, shard.fleet)
        return indices if gone and host in self._operator.given_up else EMPTY

    def _moving(self, host: str, shard: Shard, indices: IndexSet) -> IndexSet:
        """Of a host that was drained: what another has cloned and defined."""
        if host not in self._operator.drained:
            return EMPTY
        return indices & IndexSet.union_of(
            other.ranges
            for name, assignment in self.assignments.items()
            for other in assignment.shards
            if name != host and other.fleet == shard.fleet and other.staged
        )

    def _remade(self, host: str, shard: Shard, indices: IndexSet) -> IndexSet:
        """Made anew where it is, in a fleet of which that was asked."""
        fleet = self.fleet(shard.fleet)
        if fleet is None or fleet.name not in self._operator.remade:
            return EMPTY
        return indices & IndexSet.union_of(
            other.ranges
            for other in self.assignments[host].shards
            if other.fleet == shard.fleet and other.birth > shard.birth
        )

    def _check_removal(self, host: str) -> None:
        """What is forgotten with a host is nothing, or has a tombstone until it is back; but for
        orphans, and what a recovered store has never known."""
        left = self.assignments.get(host, NOTHING)
        record = self._machines[host].disk.record
        told = self._orders.of(host, record.epoch) if record else None
        if record is None or told is None or record.epoch[0] < self.generation:
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


def _read(kind: type[T], change: Change) -> T | None:
    return None if change.value is None else decode(kind, change.key, change.value)
