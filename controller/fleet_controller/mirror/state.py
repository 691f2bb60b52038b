"""The leader's mirror of the store: every record with the revision that last wrote it.

It is fed from three sides, in any order: the first reading, the answers to the leader's own
transactions, and the watch. A record never goes back to an older revision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from fleet.keys import NO_EPOCH, Epoch
from fleet.v1 import types_pb2 as types
from fleet_controller.core.audit import id_of
from fleet_controller.core.events.event_ring import EventRecord
from fleet_controller.core.joining.records import JoinedRecord, TokenRecord
from fleet_controller.core.model import (
    NOTHING,
    Assignment,
    BreakerRecord,
    DeniedRecord,
    FleetRecord,
    GoneFleet,
    HostRecord,
    Meta,
    OrdersRecord,
    RebalanceRecord,
    RolloutRecord,
)
from fleet_controller.core.people.records import PersonRecord, RoleRecord
from fleet_controller.core.recovery.freeze import Freeze
from fleet_controller.core.recovery.seals import SealKey, Seals
from fleet_controller.core.schedules.record import ScheduleRecord
from fleet_controller.core.upgrades.record import UpgradeRecord
from fleet_controller.mirror.assignment_labels import AssignmentLabels
from fleet_controller.mirror.audit_trail import AuditTrail
from fleet_controller.mirror.broken_records import BrokenRecords
from fleet_controller.mirror.event_table import EventTable
from fleet_controller.mirror.guest_claims import GuestClaims
from fleet_controller.mirror.records import (
    RecordChange,
    RecordKind,
    belongs_to_nothing,
    other_name,
    record_of,
)
from fleet_controller.mirror.shared_holdings import SharedHoldings
from fleet_controller.store import keys
from fleet_controller.store.codec import BrokenRecord, decode, decode_spec
from fleet_controller.store.port import Change, Delete, Put, Snapshot


def _nobody(change: RecordChange) -> None:
    return


class ClusterState:
    """Records by their id. Written by what is read from the store alone."""

    def __init__(self) -> None:
        self.meta = Meta()
        self._freeze: Freeze | None = None
        self.seal_key: SealKey | None = None
        self.seals = Seals(None)
        self.breaker = BreakerRecord()
        self.upgrade: UpgradeRecord | None = None  # of agents, the last one
        self.hosts: dict[str, HostRecord] = {}
        self.fleets: dict[str, FleetRecord] = {}  # by name
        self.specs: dict[tuple[str, int], types.FleetSpec] = {}  # by (uid, generation)
        self.assignments: dict[str, Assignment] = {}  # by host id
        self.labels = AssignmentLabels()
        self.gone: dict[str, GoneFleet] = {}  # deleted fleets, by uid
        self.rollouts: dict[str, RolloutRecord] = {}  # by fleet uid
        self.orders: dict[str, OrdersRecord] = {}  # by fleet uid
        self.rebalances: dict[str, RebalanceRecord] = {}  # under way, by fleet uid
        self.schedules: dict[str, ScheduleRecord] = {}  # by fleet uid
        self.denied: dict[str, DeniedRecord] = {}  # by role/name
        self.people: dict[str, PersonRecord] = {}  # by name
        self.roles: dict[str, RoleRecord] = {}  # by role
        self.tokens: dict[str, TokenRecord] = {}  # by id
        self.joined: dict[str, JoinedRecord] = {}  # by host id
        self.audit = AuditTrail()
        self.broken = BrokenRecords()
        self.events = EventTable(self.broken)
        # Hosts whose assignment is there and was never understood: what they hold is not known.
        self.unread: set[str] = set()
        self.guest_claims = GuestClaims()
        self._holdings = SharedHoldings()
        # Hosts by what their records say of them.
        self.cordoned: set[str] = set()
        self.draining: set[str] = set()
        self.lost: set[str] = set()
        self.quarantined: set[str] = set()
        self.awaiting_approval: set[str] = set()
        self.rolling: set[str] = set()  # uids of fleets whose rollout changes VMs by itself
        self.revision = 0
        self.specs_revision = 0  # the last one that wrote any spec
        self.cluster = ""
        self._first = 0  # the revision of the first reading
        self._seen: dict[str, int] = {}  # the revision last taken over, deletions too
        self._mods: dict[str, int] = {}  # the mod_revision of each key that is there
        self._listener: Callable[[RecordChange], None] = _nobody
        self._tables: dict[RecordKind, tuple[dict[str, Any], type[msgspec.Struct]]] = {
            RecordKind.HOST: (self.hosts, HostRecord),
            RecordKind.FLEET: (self.fleets, FleetRecord),
            RecordKind.ASSIGNMENT: (self.assignments, Assignment),
            RecordKind.GONE: (self.gone, GoneFleet),
            RecordKind.ROLLOUT: (self.rollouts, RolloutRecord),
            RecordKind.ORDERS: (self.orders, OrdersRecord),
            RecordKind.REBALANCE: (self.rebalances, RebalanceRecord),
            RecordKind.SCHEDULE: (self.schedules, ScheduleRecord),
            RecordKind.DENIED: (self.denied, DeniedRecord),
            RecordKind.EVENT: (self.events.records, EventRecord),
            RecordKind.PERSON: (self.people, PersonRecord),
            RecordKind.ROLE: (self.roles, RoleRecord),
            RecordKind.TOKEN: (self.tokens, TokenRecord),
            RecordKind.JOINED: (self.joined, JoinedRecord),
        }

    def on_change(self, listener: Callable[[RecordChange], None]) -> None:
        """From now on the listener is called after each record that has changed; of audit records
        and events it is not, since nothing is decided from them."""
        self._listener = listener

    def load(self, snapshot: Snapshot) -> None:
        """Take over a whole reading of the store."""
        present = {entry.key for entry in snapshot.entries}
        gone = [key for key in self._mods if key not in present]
        self.cluster = snapshot.cluster
        self._first = self._first or snapshot.revision
        for entry in snapshot.entries:
            self.apply(entry.key, entry.value, entry.mod_revision)
        for key in gone:
            self.apply(key, None, snapshot.revision)
        self.revision = max(self.revision, snapshot.revision)

    def watched(self, changes: Iterable[Change]) -> None:
        """Take over what a watch saw."""
        for change in changes:
            self.apply(change.key, change.value, change.mod_revision)

    def written(self, writes: Iterable[Put | Delete], revision: int) -> None:
        """Take over the leader's own transaction."""
        for write in writes:
            self.apply(write.key, write.value if isinstance(write, Put) else None, revision)

    def mod_revision(self, key: str) -> int:
        """0 for a key that is not there: what a guard on it must say."""
        return self._mods.get(key, 0)

    def fleet_revision(self, name: str) -> int:
        """The revision that last wrote the fleet's record; 0 where there is none."""
        return self.mod_revision(keys.fleet(name))

    def assignment_revision(self, host_id: str) -> int:
        """The revision that last wrote the host's assignment; 0 where there is none."""
        return self.mod_revision(keys.assignment(host_id))

    def assignment_epoch(self, host_id: str) -> Epoch:
        """That of the host's assignment; of one that was never given any it is below all."""
        revision = self.assignment_revision(host_id)
        return Epoch(self.meta.generation, revision) if revision else NO_EPOCH

    def assignment_known(self, host_id: str) -> int:
        """The latest revision at which the host's assignment can have been written or deleted, as
        freeze.is_ahead wants it."""
        return self.known_revision(keys.assignment(host_id))

    @property
    def freeze(self) -> Freeze | None:
        """Why nothing is changed; None: changes are taken. What the store says of itself, or of
        its being frozen, must be understood for that."""
        for key in (keys.META, keys.FREEZE):
            if key in self.broken:
                return Freeze(self.broken.why(key), 0.0)
        return self._freeze

    @property
    def stamp(self) -> int:
        """What is decided now is born of this: the revision, raised by every recovery."""
        return self.revision + self.meta.raised

    def known_revision(self, key: str) -> int:
        """When the key was last written or deleted, as far as is known: no later than this."""
        return self._seen.get(key, self._first)

    def fleet_by_uid(self, uid: str) -> FleetRecord | None:
        return next((fleet for fleet in self.fleets.values() if fleet.uid == uid), None)

    def spec_of(self, fleet: FleetRecord | None) -> types.FleetSpec | None:
        """What VMs of the fleet are made of now."""
        return self.specs.get((fleet.uid, fleet.generation)) if fleet else None

    def budgeted(self) -> set[str]:
        """Uids of the fleets that have a disruption budget."""
        return {
            fleet.uid
            for fleet in self.fleets.values()
            if (spec := self.spec_of(fleet)) is not None and spec.HasField("disruption")
        }

    def spec_revision(self, uid: str, generation: int) -> int:
        """The revision that last wrote it; 0 where there is none."""
        return self.mod_revision(keys.spec(uid, generation))

    def assignment(self, host_id: str) -> Assignment:
        """What the store says that the host is to have."""
        return self.assignments.get(host_id, NOTHING)

    def apply(self, key: str, value: bytes | None, revision: int) -> None:
        """One record as of a revision; older ones are ignored. A value that cannot be understood is
        noted: what was known of it before stays, but for fleets and their specs, since what
        nobody can carry out is not to be planned."""
        self.revision = max(self.revision, revision)
        if revision <= self._seen.get(key, 0):
            return
        self._seen[key] = revision
        if value is None:
            self._mods.pop(key, None)
        else:
            self._mods[key] = revision
        change = record_of(key)
        if change is None:
            return
        if change.kind is RecordKind.AUDIT:
            self._set_audit(key, id_of(change.id), value)
            return
        if value is not None and belongs_to_nothing(change):
            self.broken.note(key, f"the store's key {key[:120]} belongs to nothing")
            return
        self.broken.forget(key)
        try:
            self._set(change, key, value)
        except BrokenRecord as broken:
            self.broken.note(key, str(broken))
            self._do_without(change, key)
        if change.kind is not RecordKind.EVENT:
            self._listener(change)
        if change.kind in (RecordKind.HOST, RecordKind.ASSIGNMENT):
            self._stand_in(change.id)

    def _set(self, change: RecordChange, key: str, value: bytes | None) -> None:
        match change.kind:
            case RecordKind.META:
                self.meta = decode(Meta, key, value) if value is not None else Meta()
            case RecordKind.FREEZE:
                self._freeze = decode(Freeze, key, value) if value is not None else None
            case RecordKind.SEAL:
                self.seal_key = _seal_key(key, value)
                self.seals = Seals(self.seal_key)
            case RecordKind.BREAKER:
                found = decode(BreakerRecord, key, value) if value is not None else None
                self.breaker = found or BreakerRecord()
            case RecordKind.UPGRADE:
                self.upgrade = decode(UpgradeRecord, key, value) if value is not None else None
            case RecordKind.SPEC:
                self._set_spec(key, value)
            case kind:
                table, record = self._tables[kind]
                if kind is RecordKind.ASSIGNMENT:
                    self.unread.discard(change.id)
                    self.labels.note(change.id, key, value)
                if value is None:
                    if not (kind is RecordKind.HOST and self.assignment(change.id).shards):
                        table.pop(change.id, None)
                else:
                    read = _named_as_its_key(change, key, decode(record, key, value))
                    table[change.id] = self._shared(read)
                self._sort(change)

    def _shared(self, record: msgspec.Struct) -> msgspec.Struct:
        return self._holdings.share(record) if isinstance(record, HostRecord) else record

    def _do_without(self, change: RecordChange, key: str) -> None:
        """A record that cannot be understood."""
        if change.kind is RecordKind.FLEET:
            self.fleets.pop(change.id, None)
        elif change.kind is RecordKind.SPEC and (spec := keys.spec_of(key)):
            self.specs.pop(spec, None)
        elif change.kind is RecordKind.ASSIGNMENT and change.id not in self.assignments:
            self.unread.add(change.id)
        elif change.kind is RecordKind.UPGRADE:  # nobody goes on with what nobody understands
            self.upgrade = None
        elif change.kind is RecordKind.SCHEDULE:  # nobody follows what nobody understands
            self.schedules.pop(change.id, None)
        elif change.kind is RecordKind.TOKEN:  # nobody joins by what nobody understands
            self.tokens.pop(change.id, None)
        elif change.kind is RecordKind.PERSON:  # known, so that rules stay in force; of no right
            self.people[change.id] = PersonRecord(change.id, problem=self.broken.why(key))
        elif change.kind is RecordKind.ROLE:
            self.roles[change.id] = RoleRecord(change.id, problem=self.broken.why(key))
        elif change.kind is RecordKind.DENIED:  # the key alone says who
            role, _, name = change.id.partition("/")
            self.denied[change.id] = DeniedRecord(role, name, f"{key} cannot be read")
        elif change.kind is RecordKind.ORDERS:  # nothing is done that nobody understands
            self.orders.pop(change.id, None)
        elif change.kind is RecordKind.EVENT:
            self.events.records.pop(change.id, None)

    def _stand_in(self, host_id: str) -> None:
        """A host that holds VMs is known, though its record is gone or cannot be understood: what
        it holds is held. Until it announces itself it is as a host that was not heard."""
        key = keys.host(host_id)
        if key in self._mods and key not in self.broken:
            return
        holds = bool(self.assignment(host_id).shards) or host_id in self.unread
        if (holds or key in self.broken) and host_id not in self.hosts:
            self.hosts[host_id] = HostRecord(host_id, "", cordoned=key in self.broken)
        elif not holds and key not in self._mods:
            self.hosts.pop(host_id, None)
        else:
            return
        change = RecordChange(RecordKind.HOST, host_id)
        self._sort(change)
        self._listener(change)

    def is_stored(self, host_id: str) -> bool:
        """Whether the store has the host's record, and it can be understood."""
        key = keys.host(host_id)
        return key in self._mods and key not in self.broken

    def _set_spec(self, key: str, value: bytes | None) -> None:
        if spec := keys.spec_of(key):
            if value is None:
                self.specs.pop(spec, None)
            else:
                self.specs[spec] = decode_spec(key, value)
                self.specs_revision = max(self.specs_revision, self.spec_revision(*spec))

    def _set_audit(self, key: str, record_id: int, value: bytes | None) -> None:
        """Of one that is gone nothing is kept: the trail itself knows that it does not come
        back."""
        if record_id:
            self.audit.set_record(record_id, value)
        if record_id not in self.audit:
            self._seen.pop(key, None)
            self._mods.pop(key, None)

    def _sort(self, change: RecordChange) -> None:
        """Keep the sets of hosts and of rollouts as the changed record has it."""
        if change.kind is RecordKind.HOST:
            host = self.hosts.get(change.id)
            _keep(self.cordoned, change.id, host is not None and host.cordoned)
            _keep(self.draining, change.id, host is not None and host.draining)
            _keep(self.lost, change.id, host is not None and host.lost)
            _keep(self.quarantined, change.id, host is not None and bool(host.quarantine))
            awaits = host is not None and host.awaits_approval
            _keep(self.awaiting_approval, change.id, awaits)
            self.guest_claims.note(change.id, host)
        elif change.kind is RecordKind.ROLLOUT:
            rollout = self.rollouts.get(change.id)
            _keep(self.rolling, change.id, rollout is not None and rollout.works)


def _named_as_its_key(change: RecordChange, key: str, record: msgspec.Struct) -> msgspec.Struct:
    """Raises BrokenRecord."""
    if other := other_name(change, record):
        raise BrokenRecord(f"the store's key {key} holds the record of {other[:80]}")
    return record


def _keep(members: set[str], one: str, belongs: bool) -> None:
    if belongs:
        members.add(one)
    else:
        members.discard(one)


def _seal_key(key: str, value: bytes | None) -> SealKey | None:
    """A key that is broken proves nothing: as none, so that the next leader makes another."""
    try:
        return decode(SealKey, key, value) if value is not None else None
    except BrokenRecord:
        return None
