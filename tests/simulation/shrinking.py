"""The shortest schedule with which a play still fails: actions are left out, many at once first,
for as long as the same rule is broken."""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.scenario import Scenario
from tests.simulation.stage import Outcome

# Plays that a search may take: some seconds of a wall clock.
MOST_PLAYS = 400


def shortest(
    scenario: Scenario, failed: Outcome, most: int = MOST_PLAYS
) -> tuple[Scenario, Outcome]:
    """The scenario and what came of it. At most `most` plays are spent on it."""
    rule = failed.failure.partition(":")[0]
    left = most
    part = max(1, len(scenario.acts) // 2)
    while left > 0:
        at, smaller = 0, False
        while at < len(scenario.acts) and left > 0:
            fewer = replace(scenario, acts=scenario.acts[:at] + scenario.acts[at + part :])
            left -= 1
            outcome = fewer.play()
            if outcome.failure.partition(":")[0] == rule:
                scenario, failed, smaller = fewer, outcome, True
            else:
                at += part
        if part == 1 and not smaller:
            break
        part = max(1, part // 2)
    return scenario, failed


def kept_of(whole: Scenario, short: Scenario) -> str:
    """Numbers of the actions that are left, as `--only` takes them."""
    numbers = {act: number for number, act in enumerate(whole.acts)}
    return ",".join(str(numbers[act]) for act in short.acts)
