"""What happens to the network and the store, as actions of a play."""

from __future__ import annotations

from collections.abc import Sequence

from tests.simulation.doubles.etcd import ETCD, StoreWeather
from tests.simulation.engine.network import Weather
from tests.simulation.faults.acts import Act, End, controller_of, machine_of, one_of
from tests.simulation.world import World


def _cut(world: World, ways: Sequence[tuple[str, str]]) -> End:
    for source, target in ways:
        world.network.cut(source, target)

    def end() -> None:
        for source, target in ways:
            world.network.mend(source, target)

    return end


def _between(several: Sequence[str], others: Sequence[str], much: float) -> list[tuple[str, str]]:
    """Both ways, or one of them."""
    there = [(a, b) for a in several for b in others]
    back = [(b, a) for a in several for b in others]
    return there if much < 0.25 else back if much < 0.5 else there + back


def cut_host(world: World, act: Act) -> End:
    controllers = [one.name for one in world.controllers]
    return _cut(world, _between([machine_of(world, act).id], controllers, act.much))


def cut_from_leader(world: World, act: Act) -> End | None:
    """One host, from the leader alone: the other controllers still reach it. One of every fourth
    host, so that these alone open no breaker and would be lost by time."""
    found = world.operator.leading()
    if found is None:
        return None
    host = one_of(list(world.machines)[::4], act.which)
    return _cut(world, _between([host], [found[0].name], act.much))


def cut_rack(world: World, act: Act) -> End:
    rack = machine_of(world, act).rack
    hosts = [one.id for one in world.machines.values() if one.rack == rack]
    return _cut(world, _between(hosts, [one.name for one in world.controllers], act.much))


def cut_controller(world: World, act: Act) -> End:
    """From every host; the store still hears it."""
    hosts = list(world.machines)
    return _cut(world, _between([controller_of(world, act).name], hosts, act.much))


def split(world: World, act: Act) -> End:
    """One controller from some of the hosts."""
    hosts = [one for n, one in enumerate(world.machines) if (n * 0.618 + act.which) % 1.0 < 0.5]
    return _cut(world, _between([controller_of(world, act).name], hosts, act.much))


def cut_from_store(world: World, act: Act) -> End:
    return _cut(world, _between([controller_of(world, act).name], [ETCD], act.much))


def storm(world: World, act: Act) -> End:
    before = world.network.weather
    world.network.weather = Weather(
        delay=0.05 + 2.0 * act.much**3, lose=0.05 * act.which, repeat=0.5 * act.which
    )

    def end() -> None:
        world.network.weather = before if before.calm else Weather()

    return end


def store_storm(world: World, act: Act) -> End:
    weather = world.store_weather
    weather.lose_request = 0.6 * act.much
    weather.lose_answer = 0.3 * act.which
    weather.late = 0.8
    weather.refuse = 0.05 * act.which

    def end() -> None:
        well = StoreWeather(lag=weather.lag)
        for name in StoreWeather.__slots__:
            setattr(weather, name, getattr(well, name))

    return end


def hold_back(world: World, act: Act) -> End:
    """A few of the next transactions arrive when nobody waits for them any more."""
    weather = world.store_weather
    weather.held_back = 1 + int(act.much * 3)
    weather.let_pass = int(act.which * 4)
    weather.held_seconds = act.seconds

    def end() -> None:
        weather.held_back = 0

    return end


def store_down(world: World, act: Act) -> End:
    world.etcd.down = True
    return world.etcd.come_back


def set_back(world: World, act: Act) -> End:
    """All members are stopped, and one cluster anew is made of a backup."""
    world.etcd.down = True

    def end() -> None:
        world.backups.restore(act.which)
        world.etcd.come_back()

    return end


def watch_lags(world: World, act: Act) -> End:
    world.store_weather.lag = 5.0 * act.much

    def end() -> None:
        world.store_weather.lag = 0.0

    return end


def compact(world: World, act: Act) -> None:
    world.etcd.compact_now()


def lease_ends(world: World, act: Act) -> None:
    """The store has lost the leader's lease; whoever holds it believes otherwise."""
    if lease := world.etcd.leader_lease():
        world.etcd.revoke_now(lease)
