"""Mistakes that somebody might make, made on purpose in the real classes: the simulator must find
each of them by itself."""

from __future__ import annotations

from tests.simulation.seeded_bugs.agents import AGENTS
from tests.simulation.seeded_bugs.by_time import BY_TIME
from tests.simulation.seeded_bugs.decisions import DECISIONS
from tests.simulation.seeded_bugs.leaders import LEADERS
from tests.simulation.seeded_bugs.replacing import SeededBug
from tests.simulation.seeded_bugs.trusting import TRUSTING
from tests.simulation.seeded_bugs.unbounded import UNBOUNDED

SEEDED: tuple[SeededBug, ...] = (*AGENTS, *LEADERS, *DECISIONS, *TRUSTING, *UNBOUNDED, *BY_TIME)
