"""How far a change of a fleet is, at what rate, and when it may end. Pure: time is passed in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types

# The rate is that of the last seconds: long enough to be calm, short enough to follow.
RATE_WINDOW = 3.0


class GoalState(Enum):
    """How far a status says that a goal is."""

    GOING_ON = auto()
    DONE = auto()
    PLACED_PARTLY = auto()  # what fits runs, and the rest was allowed not to fit
    FAILED_FOR_GOOD = auto()  # all that is missing, for reasons that no waiting mends
    SUPERSEDED = auto()
    DELETED = auto()


@dataclass(frozen=True, slots=True)
class Goal:
    """The change that is waited for, as its ScaleResponse named it."""

    fleet: str
    total: int
    change: int
    partial: bool = False

    def state(self, status: cluster.FleetStatus) -> GoalState:
        return goal_state(self, status)


def goal_state(goal: Goal, status: cluster.FleetStatus) -> GoalState:
    """Compares a status with the goal. An earlier change than the goal's is going on still."""
    if status.change < goal.change:
        return GoalState.GOING_ON
    if status.deleting:
        return GoalState.DELETED
    # A later change to the same total, such as a new generation, asks for what we wait for.
    if status.change > goal.change and status.total != goal.total:
        return GoalState.SUPERSEDED
    # Restarts that were ordered may go on for long yet: they are no part of the goal.
    if status.converged or _has_its_total(status):
        return GoalState.DONE
    fits = goal.partial and status.unplaced and status.placed and not status.releasing
    if fits and running(status) == status.placed:
        return GoalState.PLACED_PARTLY
    if only_failures_left(status, partial=goal.partial):
        return GoalState.FAILED_FOR_GOOD
    return GoalState.GOING_ON


def _has_its_total(status: cluster.FleetStatus) -> bool:
    return status.as_wanted == status.total == status.placed and not status.releasing


def only_failures_left(status: cluster.FleetStatus, *, partial: bool = False) -> bool:
    """Whether all that is missing has failed for reasons that no waiting mends. `partial`: what
    fits nowhere is not missing."""
    unplaced = sum(reason.count for reason in status.unplaced_reasons)
    given_up = status.failed_for_good + (min(unplaced, status.unplaced) if partial else 0)
    others = max(0, status.total - status.as_wanted - given_up)
    return bool(status.failed_for_good) and not status.releasing and not others


def running(status: cluster.FleetStatus) -> int:
    """VMs in that state; a status without counts has none."""
    counts = status.states
    return counts[types.VM_STATE_RUNNING] if len(counts) > types.VM_STATE_RUNNING else 0


def left(status: cluster.FleetStatus) -> int:
    """VMs that are not yet as they are wanted: to be run, or to be released."""
    return max(0, status.total - running(status)) + status.releasing


@dataclass(slots=True)
class ChangeProgress:
    """How one change of a fleet goes on, by its statuses. Times are monotonic seconds."""

    started: float
    work: int = 0  # VMs to be run or released in all
    remaining: int = 0
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def record(self, status: cluster.FleetStatus, now: float) -> None:
        """Takes in a status that was seen at `now`; no later one before it."""
        self.remaining = left(status)
        self.work = max(self.work, self.remaining)
        self._seen.append((now, self.work - self.remaining))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_WINDOW:
            self._seen.popleft()

    @property
    def seen_at(self) -> float:
        """When the last status was seen."""
        return self._seen[-1][0] if self._seen else self.started

    @property
    def done(self) -> int:
        return self.work - self.remaining

    @property
    def fraction(self) -> float:
        return self.done / self.work if self.work else 1.0

    def elapsed(self, now: float) -> float:
        return now - self.started

    def rate(self) -> float:
        """VMs a second of late; 0 before two statuses were seen."""
        if len(self._seen) < 2:
            return 0.0
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return max(0.0, (after - before) / (last - first)) if last > first else 0.0

    def ends_in(self) -> float | None:
        """Seconds until the end at that rate; None while nothing can be said."""
        rate = self.rate()
        return self.remaining / rate if rate > 0 else None
