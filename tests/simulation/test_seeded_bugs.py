"""The simulator finds mistakes: each that is made on purpose breaks a rule within a few plays,
and the same play without it breaks none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation.doubles.cluster import Shape
from tests.simulation.scenario import Scenario
from tests.simulation.seeded_bugs.replacing import SeededBug
from tests.simulation.seeded_bugs.table import SEEDED
from tests.simulation.shrinking import shortest
from tests.simulation.stage import Outcome

# Plays so short would be over before anything could be adopted.
SHAPE = Shape(minutes=2.0, recover_after=0.0)
# The mistake that is hardest to find shows in one play of fifteen.
MOST_PLAYS = 100


def found(bug: SeededBug) -> tuple[Scenario, Outcome]:
    """The first play in which it shows."""
    shape = replace(SHAPE, controllers=bug.controllers)
    with bug.made():
        for seed in range(MOST_PLAYS):
            scenario = Scenario.of(seed, shape, bug.stress)
            outcome = scenario.play()
            if outcome.failure:
                return scenario, outcome
    pytest.fail(f"{bug.name}: not found in {MOST_PLAYS} plays")


@pytest.mark.parametrize("bug", SEEDED, ids=lambda bug: bug.name)
def test_a_mistake_is_found(bug: SeededBug) -> None:
    scenario, outcome = found(bug)
    print(f"seed {scenario.seed}: {outcome.failure}")
    assert not scenario.play().failure, "it is the mistake that was found"


def test_what_fails_is_made_short() -> None:
    bug = next(one for one in SEEDED if one.name == "ledger written after the acknowledgement")
    scenario, outcome = found(bug)
    with bug.made():
        short, again = shortest(scenario, outcome, most=40)
    assert again.failure.partition(":")[0] == outcome.failure.partition(":")[0]
    assert len(short.acts) < len(scenario.acts) / 2
