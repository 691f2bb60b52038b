"""Why a request is refused: a stable reason for machines, and one clear sentence.

Whatever names a fleet or a host that is not there is refused here, in the same words everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from fleet_controller.core.model import FleetRecord, HostRecord


class Reason(StrEnum):
    """Stable, for machines; fleetctl's exit codes follow from them."""

    NO_SUCH_FLEET = "NO_SUCH_FLEET"
    NO_SUCH_HOST = "NO_SUCH_HOST"
    NO_SUCH_VM = "NO_SUCH_VM"
    WHICH_FLEET = "WHICH_FLEET"
    BAD_TOTAL = "BAD_TOTAL"
    BAD_SPEC = "BAD_SPEC"
    BROKEN_RECORD = "BROKEN_RECORD"
    BEYOND_CAPACITY = "BEYOND_CAPACITY"
    STALE_PLAN = "STALE_PLAN"
    FLEET_DELETING = "FLEET_DELETING"
    NO_FLEET_NUMBER = "NO_FLEET_NUMBER"
    DUPLICATE_HOST = "DUPLICATE_HOST"
    BAD_ANNOUNCE = "BAD_ANNOUNCE"
    TOO_MANY_ANNOUNCEMENTS = "TOO_MANY_ANNOUNCEMENTS"
    TOO_MANY_WATCHERS = "TOO_MANY_WATCHERS"
    BAD_QUERY = "BAD_QUERY"
    WHICH_HOST = "WHICH_HOST"
    HOST_UNREACHABLE = "HOST_UNREACHABLE"
    HOST_NOT_LOST = "HOST_NOT_LOST"
    HOST_LOST = "HOST_LOST"
    HOST_IN_USE = "HOST_IN_USE"
    DRAIN_CANCELLED = "DRAIN_CANCELLED"
    NO_SUCH_GENERATION = "NO_SUCH_GENERATION"
    NOTHING_TO_CHANGE = "NOTHING_TO_CHANGE"
    ROLLOUT_UNDER_WAY = "ROLLOUT_UNDER_WAY"
    ROLLOUT_STATE = "ROLLOUT_STATE"
    HOST_LIVE = "HOST_LIVE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    NOT_DURABLE = "NOT_DURABLE"
    CHANGES_FROZEN = "CHANGES_FROZEN"
    NOT_FROZEN = "NOT_FROZEN"
    NO_SUCH_DENIAL = "NO_SUCH_DENIAL"
    HOST_EXPELLED = "HOST_EXPELLED"
    OWN_DENIAL = "OWN_DENIAL"
    DENIED = "DENIED"
    BAD_TOKEN = "BAD_TOKEN"
    NO_SUCH_TOKEN = "NO_SUCH_TOKEN"
    TOKEN_EXISTS = "TOKEN_EXISTS"
    TOO_MANY_JOINS = "TOO_MANY_JOINS"
    BAD_REQUEST = "BAD_REQUEST"
    CLOCK_OFF = "CLOCK_OFF"
    NO_ISSUING_KEY = "NO_ISSUING_KEY"
    JOIN_LATER = "JOIN_LATER"
    UPGRADE_STATE = "UPGRADE_STATE"
    NOT_ALLOWED = "NOT_ALLOWED"
    OVER_QUOTA = "OVER_QUOTA"
    FIRST_PERSON = "FIRST_PERSON"
    LAST_ADMIN = "LAST_ADMIN"
    NO_SUCH_PERSON = "NO_SUCH_PERSON"
    CHANGE_DEADLINE_PASSED = "LATE"


class Refused(Exception):
    """A change that is not made."""

    def __init__(self, reason: Reason, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = metadata


def named_fleet(fleets: Mapping[str, FleetRecord], name: str) -> FleetRecord:
    """The fleet of that name; the only one when the name is empty. Raises Refused."""
    if name:
        if name not in fleets:
            known = ", ".join(sorted(fleets)[:5]) or "there is none yet; apply a fleet file first"
            raise Refused(
                Reason.NO_SUCH_FLEET, f"there is no fleet {name[:60]!r} (fleets: {known})"
            )
        return fleets[name]
    if len(fleets) == 1:
        return next(iter(fleets.values()))
    if not fleets:
        raise Refused(Reason.NO_SUCH_FLEET, "there is no fleet yet; apply a fleet file first")
    raise Refused(
        Reason.WHICH_FLEET,
        f"there are {len(fleets)} fleets: say which ({', '.join(sorted(fleets)[:5])})",
    )


def check_vm(fleet: FleetRecord, index: int) -> None:
    """Raises Refused for an index beyond the fleet's total."""
    if index >= fleet.total:
        raise Refused(
            Reason.NO_SUCH_VM,
            f"fleet {fleet.name} has {fleet.total:,} VMs, counted from 0: there is no {index}",
        )


def expelled(host_id: str) -> Refused:
    """The refusal of what is asked about a host that is expelled."""
    return Refused(
        Reason.HOST_EXPELLED,
        f"{host_id} is expelled: 'fleetctl hosts readmit {host_id}' takes it back first",
    )


def known_host(hosts: Mapping[str, HostRecord], host_id: str) -> HostRecord:
    """The host with this id. Raises Refused."""
    if host_id not in hosts:
        raise Refused(Reason.NO_SUCH_HOST, f"there is no host {host_id[:80]!r}")
    return hosts[host_id]


def named_host(hosts: Mapping[str, HostRecord], name: str) -> HostRecord:
    """The host of that name; the only one when the name is empty. Raises Refused."""
    if name:
        return known_host(hosts, name)
    if len(hosts) == 1:
        return next(iter(hosts.values()))
    if not hosts:
        raise Refused(Reason.NO_SUCH_HOST, "there is no host yet; none has announced itself")
    examples = ", ".join(sorted(hosts)[:3])
    raise Refused(Reason.WHICH_HOST, f"there are {len(hosts):,} hosts: say which ({examples}, ...)")
