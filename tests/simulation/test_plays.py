"""Whatever goes wrong in a simulated cluster, its rules hold, and in the end all that was asked
for runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import SystemRandom

import pytest

from tests.simulation.doubles.cluster import Shape
from tests.simulation.scenario import Scenario
from tests.simulation.shrinking import shortest

ROOT = Path(__file__).resolve().parents[2]
SHAPE = Shape(minutes=2.0)
FIXED = range(60)
FRESH = 40


def check(seed: str, shape: Shape) -> None:
    """Raises with the least that fails and the command that plays it again."""
    scenario = Scenario.of(seed, shape)
    outcome = scenario.play()
    if not outcome.failure:
        return
    short, outcome = shortest(scenario, outcome, most=60)
    acts = "\n".join(f"  {act}" for act in short.acts)
    trace = "\n".join(line[:200] for line in outcome.trace[-60:])
    again = (
        f".venv/bin/python -m tests.simulation --seed {seed} --minutes {shape.minutes:g} "
        f"--hosts {shape.hosts} --per-host {shape.per_host}"
    )
    pytest.fail(f"seed {seed}: {outcome.failure}\n{trace}\n{acts}\nagain: {again}")


@pytest.mark.parametrize("part", range(4))
def test_the_rules_hold_in_plays_that_are_always_the_same(part: int) -> None:
    for seed in FIXED[part::4]:
        check(str(seed), SHAPE)


@pytest.mark.parametrize("part", range(2))
def test_the_rules_hold_in_plays_that_nobody_has_seen_yet(part: int) -> None:
    first = SystemRandom().randrange(10**9)
    print(f"seeds {first} to {first + FRESH // 2 - 1}")
    for seed in range(first, first + FRESH // 2):
        check(str(seed), SHAPE)


def test_the_same_seed_is_the_same_play() -> None:
    first, again = (Scenario.of("same", SHAPE).play() for _ in range(2))
    assert first.steps > 1000
    assert (first.digest, first.steps) == (again.digest, again.steps)
    assert Scenario.of("other", SHAPE).play().digest != first.digest


def test_the_same_seed_is_the_same_play_in_another_process() -> None:
    """Where strings hash otherwise, and everything lies at other addresses."""
    program = (
        "from tests.simulation.scenario import Scenario\n"
        "from tests.simulation.world import Shape\n"
        "print(Scenario.of('same', Shape(minutes=2.0)).play().digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": salt, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert digests == {Scenario.of("same", SHAPE).play().digest + "\n"}
