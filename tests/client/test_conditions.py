"""What `wait` waits for: when it is so, and when no waiting makes it so."""

from __future__ import annotations

import pytest

from fleet.v1 import cluster_pb2 as cluster
from megafleet.conditions import Condition, FleetCondition, host_state
from megafleet.progress import GoalState
from tests.processes.controller_double import status

RUNNING, CONVERGED = Condition.RUNNING, Condition.CONVERGED


@pytest.mark.parametrize(
    ("condition", "seen", "expected"),
    [
        (RUNNING, status(), GoalState.DONE),
        (RUNNING, status(running=999), GoalState.GOING_ON),
        (RUNNING, status(releasing=3), GoalState.DONE),
        (CONVERGED, status(releasing=3), GoalState.GOING_ON),
        (CONVERGED, status(), GoalState.DONE),
        (CONVERGED, status(total=5, change=99), GoalState.DONE),
        (RUNNING, status(unplaced=10), GoalState.GOING_ON),
        (RUNNING, status(running=1, deleting=True), GoalState.DELETED),
        (RUNNING, status(running=900, failed=100, for_good=100), GoalState.FAILED_FOR_GOOD),
        (CONVERGED, status(running=900, failed=100, for_good=99), GoalState.GOING_ON),
        (CONVERGED, status(running=899, failed=100, for_good=100), GoalState.GOING_ON),
    ],
)
def test_how_a_fleet_stands(
    condition: Condition, seen: cluster.StatusResponse, expected: GoalState
) -> None:
    assert FleetCondition("spv", condition).state(seen.fleets[0]) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (None, GoalState.GOING_ON),
        (cluster.HostSummary(health=cluster.HOST_HEALTH_LIVE), GoalState.DONE),
        (cluster.HostSummary(health=cluster.HOST_HEALTH_LIVE, cordoned=True), GoalState.DONE),
        (cluster.HostSummary(health=cluster.HOST_HEALTH_UNREACHABLE), GoalState.GOING_ON),
        (cluster.HostSummary(health=cluster.HOST_HEALTH_LOST), GoalState.GOING_ON),
        (
            cluster.HostSummary(health=cluster.HOST_HEALTH_LOST, expelled="it lies"),
            GoalState.FAILED_FOR_GOOD,
        ),
        (
            cluster.HostSummary(health=cluster.HOST_HEALTH_UNREACHABLE, awaits_approval=True),
            GoalState.FAILED_FOR_GOOD,
        ),
    ],
)
def test_how_a_host_stands(host: cluster.HostSummary | None, expected: GoalState) -> None:
    assert host_state(host) is expected
