"""Hosts that turn hostile for a while, as an action of a play."""

from __future__ import annotations

from random import Random

from tests.simulation.doubles.lies.table import LIES, NOT_IN_RECOVERIES, TOLD_TODAY
from tests.simulation.doubles.machine import Machine
from tests.simulation.faults.acts import Act, End
from tests.simulation.world import World

MOST_LIES = 3


def turn_hostile(world: World, act: Act) -> End:
    """One lie in half of the cases, else a few together; hosts that turn hostile lie in agreement.
    They are the same in all of a play, so that they stay as few as they are to be."""
    random = Random(act.much)
    chosen = random.sample(TOLD_TODAY, random.choice((1, 1, 2, MOST_LIES)))
    return _lie(world, chosen)


def tell(name: str, world: World, act: Act) -> End:
    """One lie, whether the product withstands it or not."""
    return _lie(world, [name])


def _lie(world: World, names: list[str]) -> End:
    """The hosts that may tell these lies, from now until the end."""
    hit = [_turned(world, one, names) for one in liars_of(world)]

    def end() -> None:
        for machine in hit:
            machine.tongue.lies = ()
            world.liars.end(machine.id)
            machine.kill()  # it is mended: an honest agent begins, and says who it is

    return end


def liars_of(world: World) -> list[Machine]:
    """Below one in a hundred, and at least one."""
    machines = list(world.machines.values())
    several = max(1, (len(machines) - 1) // 100)
    return Random(f"{world.seed}/liars").sample(machines, several)


def _turned(world: World, machine: Machine, names: list[str]) -> Machine:
    know = machine.tongue.know
    know.totals = {record.uid: record.total for record in world.store.fleets.values()}
    know.addresses = [one.address for one in world.machines.values() if one is not machine]
    known = not NOT_IN_RECOVERIES.keys().isdisjoint(names)
    machine.tongue.holds_back = lambda: known and world.liars.recovering
    machine.tongue.lies = tuple(LIES[name] for name in names)
    world.liars.begin(machine.id, names)
    # Announced and reported anew: what it says is heard from its beginning.
    machine.kill()
    return machine
