"""What `wait` waits for, of fleets and of hosts as they are now. Pure.

A scale waits for its own change (`progress.py`); these ask for no change, and follow whatever total
a fleet has meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fleet.v1 import cluster_pb2 as cluster
from megafleet.progress import GoalState, only_failures_left


class Condition(Enum):
    """By its name on the command line."""

    RUNNING = "running"
    CONVERGED = "converged"
    HOST_LIVE = "host-live"

    @property
    def of_host(self) -> bool:
        return self is Condition.HOST_LIVE


@dataclass(frozen=True, slots=True)
class FleetCondition:
    """`running`: every VM that is wanted on runs, whatever is still to be released; `converged`:
    nothing is left to do."""

    fleet: str
    condition: Condition

    def state(self, status: cluster.FleetStatus) -> GoalState:
        if status.deleting:
            return GoalState.DELETED
        if status.converged or (self.condition is Condition.RUNNING and _all_run(status)):
            return GoalState.DONE
        if only_failures_left(status):
            return GoalState.FAILED_FOR_GOOD
        return GoalState.GOING_ON


def _all_run(status: cluster.FleetStatus) -> bool:
    return status.as_wanted == status.total == status.placed


def host_state(host: cluster.HostSummary | None) -> GoalState:
    """Whether a host is live. None: nobody knows it yet, and it may announce itself."""
    if host is None:
        return GoalState.GOING_ON
    if host.health == cluster.HOST_HEALTH_LIVE:
        return GoalState.DONE
    return GoalState.FAILED_FOR_GOOD if in_the_way(host) else GoalState.GOING_ON


def in_the_way(host: cluster.HostSummary) -> str:
    """Why no waiting makes the host live, and what does; empty where it may become so."""
    if host.expelled:
        return f"it is expelled ({host.expelled}): 'fleetctl hosts readmit {host.id}'"
    if host.awaits_approval:
        return f"it awaits approval: 'fleetctl hosts approve {host.id}'"
    return ""
