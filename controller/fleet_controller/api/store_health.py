"""The store's health as it goes on the wire. Pure."""

from __future__ import annotations

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.store.health import MemberHealth, StoreHealth


def store_health(health: StoreHealth, seconds_old: float) -> cluster.StoreHealth:
    """As it goes on the wire."""
    return cluster.StoreHealth(
        members=[_member(one) for one in health.members],
        troubles=health.troubles(),
        read_seconds=health.read_seconds or 0.0,
        age_seconds=seconds_old,
    )


def _member(member: MemberHealth) -> cluster.StoreMember:
    return cluster.StoreMember(
        name=member.name,
        address=member.address,
        reachable=not member.problem,
        problem=member.problem,
        alarms=member.alarms,
        space_used=member.used,
        space_quota=member.quota,
        seconds=member.seconds,
        version=member.version,
    )
