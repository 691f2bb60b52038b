"""Waiting for what was asked for to be true, through failures of controllers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from fleet.v1 import cluster_pb2 as wire
from megafleet.client.fleets import ClusterStatus, FleetStatus, Scaled, fleet_status_of, status_of
from megafleet.client.hosts import Host, get
from megafleet.conditions import Condition, FleetCondition, host_state, in_the_way
from megafleet.connection.cluster import Cluster
from megafleet.connection.follow import FleetGoal, NoViewer, Waiting, statuses, wait
from megafleet.errors import (
    FailedForGood,
    InvalidArgument,
    MegafleetError,
    NotConverged,
    Superseded,
    Unavailable,
)
from megafleet.progress import ChangeProgress, Goal, GoalState, left

_NO_SUCH_HOST = "NO_SUCH_HOST"


def until_scaled(cluster: Cluster, change: Scaled, seconds: float) -> FleetStatus:
    """Raises NotConverged, FailedForGood, Superseded."""
    goal = Goal(change.fleet, change.total, change.change, change.partial)
    return _until(cluster, goal, f"{change.total:,} VMs", seconds)


def until_fleet(
    cluster: Cluster, fleet: str, condition: Condition | str, seconds: float
) -> FleetStatus:
    """Raises NotConverged, FailedForGood, Superseded."""
    try:
        kind = Condition(condition)
    except ValueError as error:
        raise InvalidArgument(f"{str(condition)[:40]!r} is nothing to wait for") from error
    if kind.of_host:
        raise InvalidArgument(f"{kind.value} is of hosts: see wait_host")
    return _until(cluster, FleetCondition(fleet, kind), kind.value, seconds)


def until_host_live(cluster: Cluster, host: str, seconds: float) -> Host:
    """It need not be known yet. Raises NotConverged, FailedForGood."""
    deadline, seen = time.monotonic() + seconds, None
    for _ in statuses(cluster, "", deadline, NoViewer()):
        try:
            seen = get(cluster, host).host
        except Unavailable:
            continue  # the next status comes from whoever answers then
        except MegafleetError as error:
            if error.reason != _NO_SUCH_HOST:
                raise
            seen = None
        state = host_state(seen.message if seen else None)
        if seen and state is GoalState.DONE:
            return seen
        if seen and state is GoalState.FAILED_FOR_GOOD:
            raise FailedForGood(
                f"{host} does not become live by waiting: {in_the_way(seen.message)}"
            )
    how = f"{host} is {seen.health}" if seen else f"{host} is not known"
    raise NotConverged(f"{how}, after {seconds:g} s")


def watch(cluster: Cluster, fleet: str, seconds: float) -> Iterator[list[ClusterStatus]]:
    """A status whenever it has changed, and one a second, for so many seconds."""
    deadline = math.inf if math.isinf(seconds) else time.monotonic() + seconds
    for response in statuses(cluster, fleet, deadline, NoViewer()):
        yield [status_of(response)]


def _until(cluster: Cluster, goal: FleetGoal, what: str, seconds: float) -> FleetStatus:
    waiting = Waiting(goal, ChangeProgress(time.monotonic()))
    wait(cluster, waiting, seconds, NoViewer())
    seen = waiting.status
    if seen is not None and waiting.state in (GoalState.DONE, GoalState.PLACED_PARTLY):
        return fleet_status_of(seen)
    raise _why_not(goal.fleet, waiting.state, seen, what, seconds)


def _why_not(
    fleet: str, state: GoalState, seen: wire.FleetStatus | None, what: str, seconds: float
) -> MegafleetError:
    if seen is None:
        return Unavailable(f"no controller told how {fleet} stands within {seconds:g} s")
    by = f" by {seen.changed_by}" if seen.changed_by else ""
    if state is GoalState.SUPERSEDED:
        return Superseded(f"superseded{by}: the total of {fleet} is {seen.total:,} by now")
    if state is GoalState.DELETED:
        return Superseded(f"superseded{by}: {fleet} is being deleted")
    if state is GoalState.FAILED_FOR_GOOD:
        kinds = ", ".join(f"{one.kind}: {one.count:,}" for one in seen.problems if one.lasting)
        more = f" ({kinds})" if kinds else ""
        return FailedForGood(
            f"{seen.failed_for_good:,} VMs of {fleet} failed for what no waiting mends{more}"
        )
    return NotConverged(
        f"{fleet} has not come to {what} within {seconds:g} s, {left(seen):,} VMs to go; it goes on"
    )
