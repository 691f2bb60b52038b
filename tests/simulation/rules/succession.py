"""What must come about soon where nothing stands in its way: somebody leads, and hosts that are
back have given up what others run."""

from __future__ import annotations

from fleet_controller.store.keys import LEADER
from tests.simulation.doubles.controllers import Controller
from tests.simulation.doubles.etcd import ETCD
from tests.simulation.doubles.machine import Machine
from tests.simulation.rules.one_copy import RETURN_SECONDS
from tests.simulation.world import LOOK_SECONDS, World

# Without a leader though somebody could lead: longer than the life of a lease, the wait for a
# store that answered nobody, and a start.
LEADERLESS_SECONDS = 15.0


class Returns:
    """Looks every second for copies that a host should have given up: that is back, and that
    nothing has troubled for long enough."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[str, float] = {}  # hosts that nothing troubles, and since when

    def look(self) -> None:
        """Every second."""
        world, now = self._world, self._world.loop.now
        led = world.operator.leading() is not None and not world.etcd.down
        calm = led and world.store_weather.calm and world.network.weather.calm
        self._since = {
            host: self._since.get(host, now)
            for host, machine in world.machines.items()
            if calm and self._is_left_alone(machine)
        }
        for vm, hosts in world.twice().items():
            if all(now - self._since.get(host, now) > RETURN_SECONDS for host in hosts):
                world.fail("return", f"{vm[1]} of {vm[0]} still runs on {sorted(hosts)}")
        world.loop.after(LOOK_SECONDS, self.look)

    def _is_left_alone(self, machine: Machine) -> bool:
        world, process = self._world, machine.process
        return (
            process is not None
            and process.runs
            and machine.id in world.division.hosts  # one that was removed is to announce itself
            and machine.behaviour.well
            and not machine.disk.full
            and all(
                one.process is not None
                and one.process.runs
                and world.network.is_open(one.name, machine.id)
                and world.network.is_open(machine.id, one.name)
                for one in world.controllers
            )
        )


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
