"""What every action of a play is given, and whom it hits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from tests.simulation.doubles.controllers import Controller
from tests.simulation.doubles.machine import Machine
from tests.simulation.world import World

T = TypeVar("T")
End = Callable[[], None]


class Act(NamedTuple):
    """One action at its time, in seconds from the beginning of the troubles."""

    at: float
    what: str
    seconds: float
    which: float
    much: float

    def __str__(self) -> str:
        return (
            f"{self.at:8.3f} s  {self.what:<18} for {self.seconds:6.2f} s"
            f"  which={self.which:.6f} much={self.much:.6f}"
        )


@dataclass(frozen=True, slots=True)
class Action:
    """`longest`, `shortest`: seconds that it may last."""

    name: str
    weight: float
    longest: float
    does: Callable[[World, Act], End | None]
    shortest: float = 0.0


def one_of(several: Sequence[T], number: float) -> T:
    return several[int(number * len(several))]


def machine_of(world: World, act: Act) -> Machine:
    return one_of(list(world.machines.values()), act.which)


def controller_of(world: World, act: Act) -> Controller:
    """The leader half of the time: most of what can go wrong is there."""
    found = world.operator.leading()
    if found is not None and act.which < 0.5:
        return found[0]
    return one_of(world.controllers, (act.which * 2) % 1.0)
