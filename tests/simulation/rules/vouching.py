"""Vouched for: no host is lost by time that a standby could reach, and could tell the leader so,
for as long as an answer may be the ground of a verdict."""

from __future__ import annotations

from fleet_controller.host_loss.standby_poll import ANSWER_SECONDS
from fleet_controller.observed.standby_reachability import CONFIRMED_SECONDS
from tests.simulation.doubles.controllers import Controller
from tests.simulation.doubles.machine import Machine
from tests.simulation.world import LOOK_SECONDS, World

# From when a standby is asked until the verdict that rests on its answer is written, where the
# store is well; and how long a transaction may be on its way when it was not (hold_back).
SPAN_SECONDS = ANSWER_SECONDS + CONFIRMED_SECONDS + 5.0
HELD_SECONDS = 45.0
Lives = tuple[str, str, str]  # processes: a leader's, a standby's, and the agent's between them


class VouchedFor:
    """Looks every second."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[Lives, float] = {}  # since when the standby could vouch
        self._store_trouble = world.loop.now  # when last
        world.lost_by_time.append(self._on_lost)

    def look(self) -> None:
        """Every second."""
        world, now = self._world, self._world.loop.now
        if not world.store_weather.calm:
            self._store_trouble = now
        calm = world.network.weather.calm
        self._since = {
            lives: self._since.get(lives, now)
            for leader in world.controllers
            for standby in world.controllers
            if calm and leader is not standby and self._are_joined(leader, standby)
            for machine in world.machines.values()
            if self._reaches(standby, machine)
            for lives in [_lives(leader, standby, machine)]
        }
        world.loop.after(LOOK_SECONDS, self.look)

    def _on_lost(self, host: str) -> None:
        """By whoever leads; a leader that was superseded may still believe that it does."""
        world = self._world
        if world.loop.now - self._store_trouble < HELD_SECONDS:
            return
        leaders = [one for one in world.controllers if one.leading() is not None]
        able = [self._able(leader, host) for leader in leaders]
        if able and all(able):
            world.fail("vouched for", f"{host} is lost by time, and {able[0][0]} could reach it")

    def _able(self, leader: Controller, host: str) -> list[str]:
        """The standbys that could have vouched for the host, up to now."""
        now, machine = self._world.loop.now, self._world.machines[host]
        return [
            standby.name
            for standby in self._world.controllers
            if self._are_joined(leader, standby) and self._reaches(standby, machine)
            if now - self._since.get(_lives(leader, standby, machine), now) > SPAN_SECONDS
            if now - self._last_cut(leader.name, standby.name, host) > SPAN_SECONDS
        ]

    def _last_cut(self, leader: str, standby: str, host: str) -> float:
        """When one of the ways was cut last, however short."""
        ways = ((leader, standby), (standby, leader), (standby, host), (host, standby))
        return max(self._world.network.last_cut.get(way, 0.0) for way in ways)

    def _are_joined(self, leader: Controller, standby: Controller) -> bool:
        return _runs(leader) and _runs(standby) and self._is_open(leader.name, standby.name)

    def _reaches(self, standby: Controller, machine: Machine) -> bool:
        process = machine.process
        serves = machine.agent is not None and process is not None and process.runs
        return serves and self._is_open(standby.name, machine.id)

    def _is_open(self, one: str, other: str) -> bool:
        network = self._world.network
        return network.is_open(one, other) and network.is_open(other, one)


def _lives(leader: Controller, standby: Controller, machine: Machine) -> Lives:
    return (leader.life, standby.life, machine.process.name if machine.process else "")


def _runs(controller: Controller) -> bool:
    process = controller.process
    return process is not None and process.runs and not process.dead
