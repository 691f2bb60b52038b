"""Which hosts get no further VMs because too many fail there.

A failure that most hosts of a fleet have comes from the fleet, such as a kernel that no host has:
it puts no host in quarantine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QuarantineSettings:
    """`after`: seconds. `share`: of the VMs assigned to the host. The defaults are ours: more than
    chance, and longer than the first few tries of a busy host."""

    least: int = 10  # VMs that fail; 0: no host is quarantined
    share: float = 0.5
    after: float = 60.0
    # A failure on more than this share of a fleet's hosts comes from the fleet.
    common: float = 0.5


@dataclass(frozen=True, slots=True)
class FailureCount:
    """VMs of one fleet that fail in one way on one host."""

    fleet: str
    kind: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Patient:
    """A host with failures. `assigned`: all its VMs."""

    host: str
    assigned: int
    failures: tuple[FailureCount, ...]


def sick(
    patients: Sequence[Patient], users: Mapping[str, int], settings: QuarantineSettings
) -> dict[str, str]:
    """Why each host where too many VMs fail is to be quarantined, by host id. `users`: how many
    hosts have VMs of a fleet, by its uid."""
    if not settings.least:
        return {}
    common = _common(patients, users, settings)
    found = {}
    for one in patients:
        own = [f for f in one.failures if f.fleet and (f.fleet, f.kind) not in common]
        count = sum(failure.count for failure in own)
        if count >= settings.least and count >= settings.share * one.assigned:
            worst = max(own, key=lambda failure: failure.count)
            found[one.host] = (
                f"{count:,} of {one.assigned:,} VMs fail, most with {worst.kind}: {worst.example}"
            )
    return found


def _common(
    patients: Iterable[Patient], users: Mapping[str, int], settings: QuarantineSettings
) -> set[tuple[str, str]]:
    """Failures, by fleet and kind, that most of the fleet's hosts have."""
    hosts = Counter((f.fleet, f.kind) for one in patients for f in one.failures if f.fleet)
    return {
        (fleet, kind)
        for (fleet, kind), count in hosts.items()
        if count > settings.common * users.get(fleet, 0)
    }
