"""What the store says now, as all rules read it. It speaks with one voice: an index has one place,
and while changes are frozen nothing is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from fleet.keys import Epoch, Kin
from fleet.ranges import EMPTY, IndexSet
from fleet.transport import Peer, Role
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import (
    Assignment,
    FleetRecord,
    HostRecord,
    Meta,
    OrdersRecord,
    Shard,
)
from fleet_controller.core.rollouts_and_drains.control import Action
from fleet_controller.core.rollouts_and_drains.vm_orders import orders_of
from fleet_controller.core.schedules.record import ScheduleRecord
from fleet_controller.store import keys
from fleet_controller.store.codec import decode, decode_spec
from fleet_controller.store.port import Change
from tests.simulation.doubles.machine import Machine
from tests.simulation.doubles.operator import Operator
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.trace import Fail
from tests.simulation.rules.orders import Orders

T = TypeVar("T", bound=msgspec.Struct)
Moved = Mapping[str, tuple[Assignment, Assignment]]
NOTHING = Assignment()
_EXPELLED = keys.denied(str(Peer(Role.AGENT, "")))
DECIDED = frozenset(
    {
        "assignments", "fleets", "rollouts", "orders", "rebalances", "schedules", "gone", "breaker",
    }
)  # fmt: skip


class StoreView(Witness):
    """Writes `orders`; `witness` hears what becomes of hosts and fleets by each revision."""

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
        self.expelled: set[str] = set()  # hosts whose name is denied
        self._revisions: dict[str, int] = {}  # that of each host's assignment
        # Hosts that had not been told what they gave up when the store was set back, and what
        # generation it was of then.
        self._unaware: dict[str, int] = {}
        self.orders: dict[str, tuple[Action, ...]] = {}  # in waves, by fleet uid
        self.specs: dict[tuple[str, int], types.FleetSpec] = {}  # by fleet uid and generation
        self.schedules: dict[str, ScheduleRecord] = {}  # by fleet uid

    def fleet(self, uid: str) -> FleetRecord | None:
        return next((one for one in self.fleets.values() if one.uid == uid), None)

    def wants(self, uid: str, index: int) -> bool:
        fleet = self.fleet(uid)
        return fleet is not None and index in fleet.wanted

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
        rule = self._on_loss(shard.kin)
        return self.is_lost(host, shard.fleet) and rule == types.ON_LOSS_REPLACE

    def waits(self, kin: Kin) -> bool:
        """Whether these VMs wait for a lost host."""
        return self._on_loss(kin) == types.ON_LOSS_WAIT

    def _on_loss(self, kin: Kin) -> int | None:
        spec = self.specs.get((kin.fleet_uid, kin.generation))
        return spec.on_loss if spec else None

    def stop_after(self, kin: Kin) -> float:
        """Seconds without a controller after which these VMs are to be stopped; 0: never."""
        spec = self.specs.get((kin.fleet_uid, kin.generation))
        return spec.on_isolation_stop_after_seconds if spec else 0.0

    def store_set_back(self) -> None:
        """What the store says is heard from its beginning, and holds again once an operator has
        recovered from that."""
        self.frozen = True
        for host in self._machines:
            if self.is_lost(host, "") or self.may_not_know(host):
                self._unaware[host] = self.generation
        # What was said of VMs that the store has forgotten still holds where they are.
        for known in (
            self.hosts,
            self.fleets,
            self.assignments,
            self.held,
            self.orders,
            self._revisions,
        ):
            known.clear()
        self.schedules.clear()
        self.expelled.clear()
        self.unknown = set(self._machines)

    def record_restored(self, change: Change) -> None:
        self._hear(change.mod_revision, [change])

    def revision_written(self, revision: int, changes: Sequence[Change]) -> None:
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
        self._witness.changes_thawed()

    def _take(self, revision: int, changes: Sequence[Change]) -> None:
        moved: dict[str, tuple[Assignment, Assignment]] = {}
        for change in changes:
            kind, _, rest = change.key.partition("/")
            if kind == "assignments":
                moved[rest] = self._take_assignment(rest, revision, change)
            elif kind == "hosts":
                self._take_host(rest, _read(HostRecord, change))
            elif kind == "schedules":
                self._take_schedule(rest, _read(ScheduleRecord, change))
            elif change.key.startswith(_EXPELLED):
                self._take_denied(change.key.removeprefix(_EXPELLED), change)
            elif change.key == keys.META and change.value is not None:
                self.generation = decode(Meta, change.key, change.value).generation
            elif (spec := keys.spec_of(change.key)) and change.value is not None:
                self.specs[spec] = decode_spec(change.key, change.value)
            elif kind == "orders":
                record = _read(OrdersRecord, change)
                self.orders[rest] = tuple(one for one, _ in orders_of(record)) if record else ()
            elif kind == "fleets" and spec is None:
                self._take_fleet(rest, _read(FleetRecord, change))
        if moved and not self.frozen:
            self._place(moved)
            self._witness.hosts_reassigned(moved)
        for change in changes:
            if change.key.startswith(keys.HOSTS) and change.value is None:
                self._witness.host_removed(change.key.removeprefix(keys.HOSTS))

    def _take_assignment(
        self, host: str, revision: int, change: Change
    ) -> tuple[Assignment, Assignment]:
        """What the host had, and what it has."""
        old, new = self.assignments.get(host, NOTHING), _read(Assignment, change) or NOTHING
        self.assignments[host] = new
        if not self.frozen:
            self._orders.note(host, Epoch(self.generation, revision), new)
        self._revisions[host] = revision if change.value is not None else 0
        return old, new

    def _take_host(self, host: str, record: HostRecord | None) -> None:
        if record is None:
            self.hosts.pop(host)
            self.unknown.add(host)
            self.ever_lost.add(host)
            return
        before = self.hosts.get(host)
        self.hosts[host] = record
        if host in self.unknown:
            self.unknown.discard(host)
            if not self.frozen:
                self._witness.host_returned(host)
        if self.frozen and record.lost:
            self.ever_lost.add(host)
            self._witness.host_lost_while_frozen(host)
        elif record.lost != (before is not None and before.lost):
            self.ever_lost.add(host)
            self._witness.verdict_written(record, record.lost)

    def _take_denied(self, host: str, change: Change) -> None:
        if change.value is None:
            self.expelled.discard(host)
        else:
            self.expelled.add(host)

    def _take_schedule(self, uid: str, record: ScheduleRecord | None) -> None:
        if record is None:
            self.schedules.pop(uid, None)
        else:
            self.schedules[uid] = record

    def _take_fleet(self, name: str, record: FleetRecord | None) -> None:
        before = self.fleets.get(name)
        if record is None:
            self.fleets.pop(name, None)
        else:
            self.fleets[name] = record
        if not self.frozen or record is None:
            self._witness.fleet_changed(before, record)

    def _place(self, moved: Moved) -> None:
        for old, _ in moved.values():
            for shard in old.shards:
                if not shard.staged:
                    self.held[shard.fleet] = self.held[shard.fleet] - shard.ranges
        for host, (_, new) in moved.items():
            self._hold(host, new)

    def _hold(self, host: str, assignment: Assignment) -> None:
        for shard in assignment.shards:
            if shard.staged:
                continue
            held = self.held.get(shard.fleet, EMPTY)
            if twice := held & shard.ranges:
                self._fail("one place", f"{twice} of {shard.fleet} in {host} and elsewhere")
            self.held[shard.fleet] = held | shard.ranges


def _read(kind: type[T], change: Change) -> T | None:
    return None if change.value is None else decode(kind, change.key, change.value)
