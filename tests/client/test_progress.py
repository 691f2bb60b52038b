"""What a status says of a change that is waited for, and how fast it goes."""

from __future__ import annotations

import pytest

from fleet.v1 import cluster_pb2 as cluster
from megafleet.conditions import Condition, FleetCondition
from megafleet.progress import ChangeProgress, Goal, GoalState, goal_state, left
from tests.processes.controller_double import status

GOAL = Goal("spv", 1000, change=7)


@pytest.mark.parametrize(
    ("goal", "seen", "expected"),
    [
        (GOAL, status(running=999), GoalState.GOING_ON),
        (GOAL, status(), GoalState.DONE),
        (GOAL, status(releasing=3), GoalState.GOING_ON),
        (GOAL, status(change=6), GoalState.GOING_ON),
        (GOAL, status(total=5, change=8), GoalState.SUPERSEDED),
        (GOAL, status(change=8), GoalState.DONE),
        (GOAL, status(running=1, change=8), GoalState.GOING_ON),
        (GOAL, status(deleting=True, change=8), GoalState.DELETED),
        (GOAL, status(unplaced=10), GoalState.GOING_ON),
        (Goal("spv", 1000, 7, partial=True), status(unplaced=10), GoalState.PLACED_PARTLY),
        (Goal("spv", 1000, 7, partial=True), status(running=9, unplaced=10), GoalState.GOING_ON),
        (Goal("spv", 1000, 7, partial=True), status(), GoalState.DONE),
        (GOAL, status(running=900, failed=100, for_good=100), GoalState.FAILED_FOR_GOOD),
        (GOAL, status(running=900, failed=100, for_good=99), GoalState.GOING_ON),
        (GOAL, status(running=899, failed=100, for_good=100), GoalState.GOING_ON),
        (GOAL, status(running=900, failed=90, for_good=90, unplaced=10), GoalState.GOING_ON),
        (GOAL, status(running=900, failed=100, for_good=100, releasing=1), GoalState.GOING_ON),
        (GOAL, status(running=900, failed=100, for_good=100, change=6), GoalState.GOING_ON),
    ],
)
def test_how_a_goal_stands(goal: Goal, seen: cluster.StatusResponse, expected: GoalState) -> None:
    assert goal_state(goal, seen.fleets[0]) is expected


def test_vms_that_are_to_be_off_and_still_run_are_no_reason_to_end() -> None:
    """85 run, 10 of them to be off; 5 have failed for good; the other 10 boot."""
    seen = status(total=100, running=85, failed=5, for_good=5).fleets[0]
    seen.powered_off, seen.as_wanted = 10, 75
    assert goal_state(Goal("spv", 100, 7), seen) is GoalState.GOING_ON


def test_vms_that_are_not_placed_yet_are_waited_for_and_those_that_fit_nowhere_are_not() -> None:
    goal = Goal("spv", 1000, 7, partial=True)
    seen = status(running=900, failed=90, for_good=90, unplaced=10).fleets[0]
    assert goal_state(goal, seen) is GoalState.GOING_ON
    seen.unplaced_reasons.add(reason="no_capacity", count=10)
    assert goal_state(goal, seen) is GoalState.FAILED_FOR_GOOD


def test_restarts_that_wait_for_a_budget_are_waited_for_by_a_wait_and_by_no_scale() -> None:
    seen = status().fleets[0]
    seen.converged = False
    assert goal_state(GOAL, seen) is GoalState.DONE
    assert FleetCondition("spv", Condition.CONVERGED).state(seen) is GoalState.GOING_ON
    assert FleetCondition("spv", Condition.RUNNING).state(seen) is GoalState.DONE


def test_what_is_left_is_to_run_or_to_be_released() -> None:
    assert left(status(running=400).fleets[0]) == 600
    assert left(status(total=10, running=10, releasing=990).fleets[0]) == 990
    # More run than are wanted while the rest is being released.
    over = status(total=10, running=10, releasing=5)
    over.fleets[0].states[5] = 15
    assert left(over.fleets[0]) == 5


def test_rate_and_end_follow_the_last_seconds() -> None:
    progress = ChangeProgress(started=100.0, work=1000)
    assert (progress.fraction, progress.rate(), progress.ends_in()) == (1.0, 0.0, None)
    progress.record(status(running=0).fleets[0], 100.0)
    progress.record(status(running=0).fleets[0], 110.0)
    assert (progress.fraction, progress.rate(), progress.ends_in()) == (0.0, 0.0, None)
    progress.record(status(running=500).fleets[0], 112.0)
    assert progress.fraction == 0.5 and progress.rate() == 250.0 and progress.ends_in() == 2.0


def test_a_setback_is_no_negative_rate() -> None:
    progress = ChangeProgress(started=0.0)
    progress.record(status(running=900).fleets[0], 1.0)
    progress.record(status(running=100).fleets[0], 2.0)
    assert progress.rate() == 0.0 and progress.ends_in() is None and progress.work == 900
