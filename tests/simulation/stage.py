"""One play: a world is set up, troubled for a while and left alone, and then everything that was
asked for must run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tests.simulation.doubles.cluster import Shape
from tests.simulation.engine import clockwork
from tests.simulation.engine.clockwork import BEGINNING
from tests.simulation.engine.silence import silence
from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one play. `failure` is empty when nothing was wrong."""

    failure: str
    seconds: float  # of the world
    steps: int
    digest: str
    trace: tuple[str, ...]
    quiet_seconds: float = 0.0  # from the last trouble until everything ran


class Deed(Protocol):
    """What is done to a world at a time, in seconds from the beginning of the troubles."""

    @property
    def at(self) -> float: ...

    @property
    def seconds(self) -> float: ...


# Does a deed; how it ends, if it lasts.
Doer = Callable[[World, Any], Callable[[], None] | None]


async def _script(world: World, deeds: Sequence[Deed], do: Doer) -> None:
    await world.begin()
    world.watch()
    began = world.loop.now
    lasting: dict[int, Callable[[], None]] = {}
    for number, deed in enumerate(sorted(deeds, key=lambda deed: deed.at)):
        await asyncio.sleep(max(0.0, began + deed.at - world.loop.now))
        world.note("act", str(deed))
        end = do(world, deed)
        if end is not None:
            lasting[number] = end
            world.loop.after(deed.seconds, _end, world, lasting, number, str(deed))
    await asyncio.sleep(max(0.0, began + world.shape.minutes * 60.0 - world.loop.now))
    for number in list(lasting):
        _end(world, lasting, number, "what was left")
    world.heal()
    await world.until_all_runs()


def _end(world: World, lasting: dict[int, Callable[[], None]], number: int, words: str) -> None:
    end = lasting.pop(number, None)
    if end is not None:
        world.note("ends", words)
        end()


def play(seed: str, shape: Shape, deeds: Sequence[Deed], do: Doer) -> Outcome:
    """One whole play, from its seed and its troubles."""
    with silence():
        return clockwork.run(lambda: _play(seed, shape, deeds, do))


async def _play(seed: str, shape: Shape, deeds: Sequence[Deed], do: Doer) -> Outcome:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, clockwork.Clockwork)
    world = World(loop, seed, shape)
    script = asyncio.ensure_future(_script(world, deeds, do))
    script.add_done_callback(lambda _: world.over.set())
    await world.over.wait()
    if script.done():
        script.result()
    script.cancel()
    world.etcd.over = True
    return Outcome(
        world.failure,
        loop.now - BEGINNING,
        loop.steps,
        world.trace.digest(),
        tuple(world.trace.tail(400)),
        world.quiet_seconds,
    )
