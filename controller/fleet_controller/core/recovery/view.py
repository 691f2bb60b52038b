"""What a recovery is decided from: the store, what hosts report, and what the operator says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Assignment, FleetRecord, HostRecord, Meta, RolloutRecord
from fleet_controller.core.recovery.inventory import Inventory


@dataclass(frozen=True, slots=True)
class RecoveryView:
    """The store, unraised, and what was reported. `ahead`: hosts heard that have seen more than
    the store holds; `doubtful`: hosts whose word counts for nothing that the store does not say.
    `too_early`: seconds until no order of a former leader can reach a host any more."""

    revision: int
    cluster: str
    meta: Meta
    hosts: Mapping[str, HostRecord]
    assignments: Mapping[str, Assignment]
    fleets: Mapping[str, FleetRecord]  # by name
    specs: Mapping[tuple[str, int], types.FleetSpec]
    inventory: Inventory
    ahead: frozenset[str]
    gone: frozenset[str] = frozenset()  # uids of fleets that were deleted
    rollouts: Mapping[str, RolloutRecord] = field(default_factory=dict)  # by uid
    doubtful: frozenset[str] = frozenset()
    guests: Mapping[str, int] = field(default_factory=dict)  # that each host is believed to admit
    too_early: float = 0.0

    def is_rebuilt(self, host: str) -> bool:
        """Whether the host's assignment is made anew of what it has: it is ahead of the store, or
        the store knows nothing of it; and its word counts."""
        if host in self.doubtful:
            return False
        return host in self.ahead or host not in self.assignments


@dataclass(frozen=True, slots=True)
class RecoveryChoice:
    """What the operator says: how, which totals hold, which hosts are gone."""

    adopt: bool
    totals: Mapping[str, int] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
