"""Answers about people: what they may, and what they own."""

from __future__ import annotations

from fleet.v1 import people_pb2 as wire
from fleet_controller.core.people.quotas import owned_by, quota_of
from fleet_controller.core.people.records import PersonRecord, PersonRole, Quota, RoleRecord
from fleet_controller.leader.memory import LeaderMemory

_MOST_FLEETS = 1000  # of one person, named


def people(memory: LeaderMemory) -> wire.ListPeopleResponse:
    """All of them, and what binds each role."""
    state = memory.state
    return wire.ListPeopleResponse(
        people=[person(memory, one) for _, one in sorted(state.people.items())],
        roles=[role_quota(state.roles.get(role, RoleRecord(role))) for role in PersonRole],
        in_force=bool(state.people),
    )


def person(memory: LeaderMemory, record: PersonRecord) -> wire.Person:
    state = memory.state
    owned = owned_by(record.name, state.fleets.values(), state.specs)
    return wire.Person(
        name=record.name,
        grants=[wire.Grant(role=grant.role, fleets=grant.fleets) for grant in record.grants],
        own_quota=_quota(record.quota),
        quota=_quota(quota_of(record, state.roles)),
        owns=owned.fleets[:_MOST_FLEETS],
        vms=owned.vms,
        memory_bytes=owned.memory_bytes,
        problem=record.problem,
        actor=record.actor,
        since_unix=record.since,
    )


def role_quota(record: RoleRecord) -> wire.RoleQuota:
    return wire.RoleQuota(role=record.role, quota=_quota(record.quota), problem=record.problem)


def _quota(quota: Quota) -> wire.Quota:
    return wire.Quota(vms=quota.vms, memory_bytes=quota.memory_bytes)
