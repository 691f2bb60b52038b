"""Somebody leads soon, whenever a controller that could lead is left alone."""

from __future__ import annotations

from fleet_controller.store.keys import LEADER
from tests.simulation.controllers import Controller
from tests.simulation.etcd import ETCD
from tests.simulation.world import LOOK_SECONDS, World

# Without a leader though somebody could lead: longer than the life of a lease, the wait for a
# store that answered nobody, and a start.
LEADERLESS_SECONDS = 25.0


class Succession:
    """Looks every second."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[str, float] = {}  # controllers that could lead, and since when
        self._vacant = world.loop.now

    def look(self) -> None:
        """Every second."""
        world, now = self._world, self._world.loop.now
        if world.etcd.created(LEADER):
            self._vacant = now
        self._since = {
            one.life: self._since.get(one.life, now)
            for one in world.controllers
            if self._could_lead(one)
        }
        since = min(self._since.values(), default=now)
        if now - max(since, self._vacant) > LEADERLESS_SECONDS:
            world.fail("succession", f"nobody leads for {LEADERLESS_SECONDS:.0f} s")
        world.loop.after(LOOK_SECONDS, self.look)

    def _could_lead(self, controller: Controller) -> bool:
        world, process = self._world, controller.process
        return (
            process is not None
            and process.runs
            and not world.etcd.down
            and world.store_weather.calm
            and world.network.is_open(controller.name, ETCD)
            and world.network.is_open(ETCD, controller.name)
            and world.network.weather.calm
        )
