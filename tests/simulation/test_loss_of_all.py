"""No VM stops because all controllers and all of etcd are away, however long."""

from __future__ import annotations

import pytest

from tests.simulation.faults.acts import Act
from tests.simulation.scenario import Scenario
from tests.simulation.world import Shape

SHAPE = Shape(hosts=20, controllers=3, minutes=13.0)
BEGINS, SECONDS = 60.0, 600.0


@pytest.mark.parametrize("seed", range(3))
def test_no_vm_stops_while_all_controllers_and_etcd_are_away_for_ten_minutes(seed: int) -> None:
    acts = [Act(1.0, "scale", 0.0, which=0.0, much=0.6)]
    acts += [Act(BEGINS, "controller_down", SECONDS, which, 0.0) for which in (0.5, 0.7, 0.9)]
    acts += [Act(BEGINS, "store_down", SECONDS, 0.0, 0.0)]
    outcome = Scenario(str(seed), SHAPE, tuple(acts)).play()
    assert not outcome.failure
    assert outcome.seconds > BEGINS + SECONDS
    assert sum("controller killed" in line for line in outcome.trace) == 3
    kinds = [line.split()[1] for line in outcome.trace]
    assert kinds.count("start") >= SHAPE.hosts and "end" not in kinds
