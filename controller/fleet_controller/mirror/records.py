"""The kinds of records in the store, and each kind's writes: what is kept under which key."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

import msgspec

from fleet.peers import parse_peer
from fleet.v1 import types_pb2 as types
from fleet_controller.change_id import change_id
from fleet_controller.core.events.event_ring import EventRecord, slot_name, slot_of
from fleet_controller.core.joining.records import JoinedRecord, TokenRecord
from fleet_controller.core.model import (
    Assignment,
    BreakerRecord,
    DeniedRecord,
    FleetRecord,
    GoneFleet,
    HostRecord,
    LabelledAssignment,
    Meta,
    OrdersRecord,
    RebalanceRecord,
    RolloutRecord,
)
from fleet_controller.core.people.records import PersonRecord, RoleRecord
from fleet_controller.core.recovery.freeze import Freeze
from fleet_controller.core.recovery.seals import SealKey
from fleet_controller.core.schedules.record import ScheduleRecord
from fleet_controller.core.upgrades.record import UpgradeRecord
from fleet_controller.store import keys
from fleet_controller.store.codec import encode, encode_spec
from fleet_controller.store.port import Delete, Put

Write = Put | Delete


class RecordKind(Enum):
    """By the beginning of the key."""

    META = keys.META
    FREEZE = keys.FREEZE
    SEAL = keys.SEAL
    BREAKER = keys.BREAKER
    UPGRADE = keys.UPGRADE
    HOST = keys.HOSTS
    FLEET = keys.FLEETS
    SPEC = "fleets/<uid>/spec/"
    ASSIGNMENT = keys.ASSIGNMENTS
    GONE = keys.GONE
    ROLLOUT = keys.ROLLOUTS
    ORDERS = keys.ORDERS
    REBALANCE = keys.REBALANCES
    SCHEDULE = keys.SCHEDULES
    AUDIT = keys.AUDIT
    EVENT = keys.EVENTS
    DENIED = keys.DENIED
    PERSON = keys.PEOPLE
    ROLE = keys.ROLES
    TOKEN = keys.TOKENS
    JOINED = keys.JOINED


class RecordChange(NamedTuple):
    """One record that was written or deleted. `id`: what follows in its key."""

    kind: RecordKind
    id: str


# Of which there is one.
_SINGLE = frozenset((
    RecordKind.META, RecordKind.FREEZE, RecordKind.SEAL, RecordKind.BREAKER, RecordKind.UPGRADE,
))  # fmt: skip
_KINDS = {kind.value: kind for kind in RecordKind}


def record_of(key: str) -> RecordChange | None:
    """Which record a key is of; None for keys of no record, as the leader's."""
    head, slash, rest = key.partition("/")
    kind = _KINDS.get(head + slash)
    if kind is RecordKind.FLEET and keys.spec_of(key):
        kind = RecordKind.SPEC
    return RecordChange(kind, rest) if kind else None


def belongs_to_nothing(change: RecordChange) -> bool:
    """Whether no record is kept under such a key, though it begins as those of this kind."""
    if change.kind in _SINGLE:
        return False
    if change.kind is RecordKind.DENIED:
        return parse_peer(change.id) is None
    if change.kind is RecordKind.EVENT:
        return slot_of(change.id) is None
    return not change.id or (change.kind is not RecordKind.SPEC and "/" in change.id)


_NAMES = {
    RecordKind.HOST: "id",
    RecordKind.FLEET: "name",
    RecordKind.GONE: "uid",
    RecordKind.ROLLOUT: "fleet",
    RecordKind.ORDERS: "fleet",
    RecordKind.REBALANCE: "fleet",
    RecordKind.SCHEDULE: "fleet",
    RecordKind.PERSON: "name",
    RecordKind.ROLE: "role",
    RecordKind.TOKEN: "id",
    RecordKind.JOINED: "host",
}


def other_name(change: RecordChange, record: msgspec.Struct) -> str:
    """What a record says that it is of, where its key says otherwise: it was copied. Empty: the key
    is right."""
    field = _NAMES.get(change.kind)
    name = getattr(record, field) if field else change.id
    return "" if name == change.id else str(name)


def put_meta(meta: Meta) -> Put:
    return Put(keys.META, encode(meta))


def put_freeze(freeze: Freeze) -> Put:
    return Put(keys.FREEZE, encode(freeze))


def delete_freeze() -> Delete:
    return Delete(keys.FREEZE)


def put_seal_key(key: SealKey) -> Put:
    return Put(keys.SEAL, encode(key))


def put_breaker(breaker: BreakerRecord) -> Put:
    return Put(keys.BREAKER, encode(breaker))


def put_upgrade(upgrade: UpgradeRecord) -> Put:
    return Put(keys.UPGRADE, encode(upgrade))


def put_event(slot: int, record: EventRecord) -> Put:
    return Put(keys.event(slot_name(slot)), encode(record))


def put_denied(denied: DeniedRecord) -> Put:
    return Put(keys.denied(denied.who), encode(denied))


def delete_denied(who: str) -> Delete:
    """`who`: role/name."""
    return Delete(keys.denied(who))


def put_person(person: PersonRecord) -> Put:
    return Put(keys.person(person.name), encode(person))


def delete_person(name: str) -> Delete:
    return Delete(keys.person(name))


def put_role(role: RoleRecord) -> Put:
    return Put(keys.role(role.role), encode(role))


def put_token(token: TokenRecord) -> Put:
    return Put(keys.token(token.id), encode(token))


def delete_token(token_id: str) -> Delete:
    return Delete(keys.token(token_id))


def put_joined(joined: JoinedRecord) -> Put:
    return Put(keys.joined(joined.host), encode(joined))


def delete_joined(host_id: str) -> Delete:
    return Delete(keys.joined(host_id))


def put_host(host: HostRecord) -> Put:
    return Put(keys.host(host.id), encode(host))


def delete_host(host_id: str) -> Delete:
    return Delete(keys.host(host_id))


def put_fleet(fleet: FleetRecord) -> Put:
    return Put(keys.fleet(fleet.name), encode(fleet))


def replace_fleet_by_gone(fleet: FleetRecord) -> list[Write]:
    """The fleet's record makes way for one that says that there was such a fleet."""
    gone = GoneFleet(fleet.name, fleet.uid, fleet.number, fleet.site)
    return [Delete(keys.fleet(fleet.name)), Put(keys.gone(fleet.uid), encode(gone))]


def delete_gone(uid: str) -> Delete:
    return Delete(keys.gone(uid))


def put_spec(uid: str, generation: int, spec: types.FleetSpec) -> Put:
    return Put(keys.spec(uid, generation), encode_spec(spec))


def delete_spec(uid: str, generation: int) -> Delete:
    return Delete(keys.spec(uid, generation))


def put_assignment(host_id: str, assignment: Assignment, change: str = "") -> Put:
    """`change`: the id of the change that it follows from, where that is not the call under way."""
    labelled = LabelledAssignment(assignment.shards, assignment.tombstones, change or change_id())
    return Put(keys.assignment(host_id), encode(labelled))


def put_assignments(
    assignments: Mapping[str, Assignment], changes: Mapping[str, str] | None = None
) -> list[Write]:
    """By host id, as `changes` is. Whoever writes less than all takes them from the start, in one
    transaction."""
    of = changes or {}
    return [put_assignment(host, one, of.get(host, "")) for host, one in assignments.items()]


def delete_assignment(host_id: str) -> Delete:
    return Delete(keys.assignment(host_id))


def put_rollout(rollout: RolloutRecord) -> Put:
    return Put(keys.rollout(rollout.fleet), encode(rollout))


def delete_rollout(uid: str) -> Delete:
    return Delete(keys.rollout(uid))


def put_orders(orders: OrdersRecord) -> Put:
    return Put(keys.orders(orders.fleet), encode(orders))


def delete_orders(uid: str) -> Delete:
    return Delete(keys.orders(uid))


def put_rebalance(rebalance: RebalanceRecord) -> Put:
    return Put(keys.rebalance(rebalance.fleet), encode(rebalance))


def delete_rebalance(uid: str) -> Delete:
    return Delete(keys.rebalance(uid))


def put_schedule(schedule: ScheduleRecord) -> Put:
    return Put(keys.schedule(schedule.fleet), encode(schedule))


def delete_schedule(uid: str) -> Delete:
    return Delete(keys.schedule(uid))
