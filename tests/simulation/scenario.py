"""One seed, one play; and when it fails, the fewest actions with which it still does."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass

from tests.simulation.faults.actions import BY_NAME, schedule
from tests.simulation.faults.acts import Act
from tests.simulation.stage import Outcome, play
from tests.simulation.world import Shape, World


def _do(world: World, act: Act) -> Callable[[], None] | None:
    return BY_NAME[act.what].does(world, act)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that a play depends on."""

    seed: str
    shape: Shape
    acts: tuple[Act, ...]

    @classmethod
    def of(cls, seed: int | str, shape: Shape, stress: Collection[str] = ()) -> Scenario:
        return cls(str(seed), shape, tuple(schedule(str(seed), shape.minutes, stress)))

    def play(self) -> Outcome:
        # What a play leaves is cyclic and goes at once with the next collection.
        was = gc.isenabled()
        gc.disable()
        gc.freeze()  # what is there already need not be looked at again
        try:
            with warnings.catch_warnings():
                # Tasks of killed processes that had not begun yet.
                warnings.filterwarnings("ignore", "coroutine .* was never awaited")
                outcome = play(self.seed, self.shape, self.acts, _do)
                gc.collect()
                return outcome
        finally:
            if was:
                gc.enable()
