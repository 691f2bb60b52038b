"""Everything that can be done to a simulated world: what operators ask, and what goes wrong.

One row of ACTIONS an action. It is drawn as often as its weight says, with a time, a length and
two numbers in [0, 1) from which it takes whom it hits and how hard. It returns how it ends, if
it lasts. An action works whatever others are under way, and leaves nothing behind once it has
ended: a play is repeated with some of its actions left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, TypeVar

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.control import Action as VmAction
from fleet_controller.core.model import Health
from tests.simulation.clockwork import Process
from tests.simulation.controllers import Controller
from tests.simulation.drivers import WELL, worse
from tests.simulation.etcd import ETCD, StoreWeather
from tests.simulation.machine import Machine
from tests.simulation.wire import Weather
from tests.simulation.world import SPEC, World

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


def _one(several: Sequence[T], number: float) -> T:
    return several[int(number * len(several))]


def _machine(world: World, act: Act) -> Machine:
    return _one(list(world.machines.values()), act.which)


def _controller(world: World, act: Act) -> Controller:
    """The leader half of the time: most of what can go wrong is there."""
    found = world.operator.leading()
    if found is not None and act.which < 0.5:
        return found[0]
    return _one(world.controllers, (act.which * 2) % 1.0)


# Operators ------------------------------------------------------------------------------------


def _scale(world: World, act: Act) -> None:
    """Most totals fit; some leave VMs without a place."""
    world.operator.scale("spv", int(act.much * world.shape.capacity * 1.1))


def _change_mind(world: World, act: Act) -> None:
    """Up, and down, and up again, before the last is done."""
    capacity = world.shape.capacity
    for number in range(4):
        share = (act.much + 0.5 * number) % 1.0
        pause = number * 6.0 * act.which
        world.loop.after(pause, world.operator.scale, "spv", int(share * capacity))


def _scale_other(world: World, act: Act) -> None:
    if "web" in world.division.fleets:
        world.operator.scale("web", int(act.much * world.shape.capacity * 0.4))
    else:
        other = types.FleetSpec()
        other.CopyFrom(SPEC)
        other.placement.policy = types.Placement.POLICY_PACK
        other.on_loss = types.ON_LOSS_WAIT
        world.operator.apply("web", other)


def _delete(world: World, act: Act) -> None:
    if "web" in world.division.fleets:
        world.operator.delete("web")


def _generation(world: World, act: Act) -> None:
    spec = types.FleetSpec()
    spec.CopyFrom(SPEC)
    spec.vcpus = 1 + int(act.much * 4)
    world.operator.apply("spv", spec)


def _cordon(world: World, act: Act) -> None:
    world.operator.cordon(_machine(world, act).id, act.much < 0.6)


def _declare_lost(world: World, act: Act) -> None:
    """One that is not live, if there is any; or that one is not."""
    found = world.operator.leading()
    if found is None:
        return
    links = found[1].reign.links.links.values()
    away = [link.host_id for link in links if link.health is not Health.LIVE]
    if away:
        world.operator.declare_lost(_one(away, act.which), act.much < 0.8)


def _release_breaker(world: World, act: Act) -> None:
    world.operator.release_breaker(5.0 + 40.0 * act.much)


def _drain(world: World, act: Act) -> End | None:
    """Some are cancelled in their midst."""
    host = _machine(world, act).id
    world.operator.drain(host, True)
    return lambda: world.operator.drain(host, False)


def _control(world: World, act: Act) -> None:
    """A third of the VMs, or all of them."""
    action = _one(list(VmAction), act.much)
    total = world.shape.capacity
    first = int(act.which * total)
    chosen = IndexSet.span(first, first + total // 3) if act.which < 0.8 else None
    world.operator.control("spv", action, chosen)


def _roll_out(world: World, act: Act) -> None:
    """To a new generation."""
    _generation(world, act)
    world.loop.after(1.0, world.operator.roll_out, "spv")


# Processes and machines -----------------------------------------------------------------------


def _soon(world: World, process: Process | None, steps: int, hit: Callable[[], None]) -> None:
    """Hit the process when it has done so many more things: in the midst of something."""
    if process is not None and process.runs:
        process.countdown, process.on_doom = steps, hit


def _stopped(world: World, process: Process | None, steps: int) -> End:
    """SIGSTOP in the midst of something; it wakes and believes what it believed."""

    def stop() -> None:
        assert process is not None
        world.note("process", f"{process.name} is stopped")
        world.loop.stop_process(process)

    def end() -> None:
        if process is not None and not process.dead:
            process.countdown = 0
            world.loop.resume_process(process)

    _soon(world, process, steps, stop)
    return end


def _kill_agent(world: World, act: Act) -> None:
    machine = _machine(world, act)
    _soon(world, machine.process, 1 + int(act.much * 60), machine.kill)


def _kill_agents(world: World, act: Act) -> None:
    """Many at once, as an upgrade does."""
    for number, machine in enumerate(world.machines.values()):
        if (number * 0.618 + act.which) % 1.0 < act.much:
            machine.kill()


def _stop_agent(world: World, act: Act) -> End:
    return _stopped(world, _machine(world, act).process, 1 + int(act.much * 60))


def _kill_controller(world: World, act: Act) -> None:
    controller = _controller(world, act)
    _soon(world, controller.process, 1 + int(act.much * 200), controller.kill)


def _stop_controller(world: World, act: Act) -> End:
    return _stopped(world, _controller(world, act).process, 1 + int(act.much * 200))


def _controller_down(world: World, act: Act) -> End:
    """Its machine is off for a while."""
    controller = _controller(world, act)
    controller.machine_off()
    return controller.machine_on


def _jump_clock(world: World, act: Act) -> None:
    """Ahead, as clocks do that count while a machine is suspended."""
    machine, controller = _machine(world, act), _controller(world, act)
    process = machine.process if act.much < 0.5 else controller.process
    if process is not None:
        process.ahead += act.seconds


def _reboot(world: World, act: Act) -> End | None:
    machine = _machine(world, act)
    if not machine.on:
        return None
    machine.power_off()
    return machine.power_on


def _reboot_rack(world: World, act: Act) -> End | None:
    rack = _machine(world, act).rack
    hit = [one for one in world.machines.values() if one.rack == rack and one.on]
    for machine in hit:
        machine.power_off()

    def end() -> None:
        for machine in hit:
            machine.power_on()

    return end


def _lose_ledger(world: World, act: Act) -> None:
    machine = _machine(world, act)
    machine.kill()
    machine.disk.record = None
    machine.disk.broken = act.much < 0.5
    world.promises.forget(machine.id)


def _fill_ledger(world: World, act: Act) -> End:
    machine = _machine(world, act)
    machine.disk.full = True

    def end() -> None:
        machine.disk.full = False

    return end


# Drivers --------------------------------------------------------------------------------------


def _mood(world: World, act: Act, **changes: float) -> End:
    hit = [_machine(world, act)]
    if act.much > 0.8:
        hit = list(world.machines.values())
    for machine in hit:
        machine.behaviour.mood = worse(machine.behaviour.mood, **changes)

    def end() -> None:
        for machine in hit:
            machine.behaviour.mood = WELL

    return end


def _steps_fail(world: World, act: Act) -> End:
    return _mood(world, act, fail=0.1 + 0.4 * act.much)


def _steps_lie(world: World, act: Act) -> End:
    return _mood(world, act, lie_failed=0.3, lie_done=0.2)


def _steps_hang(world: World, act: Act) -> End:
    return _mood(world, act, hang=0.3)


def _slow_drivers(world: World, act: Act) -> End:
    return _mood(world, act, slow=20.0)


def _no_driver(world: World, act: Act) -> End:
    return _mood(world, act, broken=True)


def _full_pool(world: World, act: Act) -> End:
    return _mood(world, act, full=True)


def _vms_die(world: World, act: Act) -> None:
    machine = _machine(world, act)
    for kin, active in machine.hypervisor.all_active().items():
        dying = IndexSet.of(i for i in active if (i * 0.618 + act.which) % 1.0 < act.much)
        if dying:
            machine.hypervisor.lose(kin.fleet_uid, dying)


# The network ----------------------------------------------------------------------------------


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


def _cut_host(world: World, act: Act) -> End:
    controllers = [one.name for one in world.controllers]
    return _cut(world, _between([_machine(world, act).id], controllers, act.much))


def _cut_rack(world: World, act: Act) -> End:
    rack = _machine(world, act).rack
    hosts = [one.id for one in world.machines.values() if one.rack == rack]
    return _cut(world, _between(hosts, [one.name for one in world.controllers], act.much))


def _cut_controller(world: World, act: Act) -> End:
    """From every host; the store still hears it."""
    hosts = list(world.machines)
    return _cut(world, _between([_controller(world, act).name], hosts, act.much))


def _split(world: World, act: Act) -> End:
    """One controller from some of the hosts."""
    hosts = [one for n, one in enumerate(world.machines) if (n * 0.618 + act.which) % 1.0 < 0.5]
    return _cut(world, _between([_controller(world, act).name], hosts, act.much))


def _cut_from_store(world: World, act: Act) -> End:
    return _cut(world, _between([_controller(world, act).name], [ETCD], act.much))


def _storm(world: World, act: Act) -> End:
    before = world.network.weather
    world.network.weather = Weather(
        delay=0.05 + 2.0 * act.much**3, lose=0.05 * act.which, repeat=0.5 * act.which
    )

    def end() -> None:
        world.network.weather = before if before.calm else Weather()

    return end


# The store ------------------------------------------------------------------------------------


def _store_storm(world: World, act: Act) -> End:
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


def _hold_back(world: World, act: Act) -> End:
    """A few of the next transactions arrive when nobody waits for them any more."""
    weather = world.store_weather
    weather.held_back = 1 + int(act.much * 3)
    weather.let_pass = int(act.which * 4)
    weather.held_seconds = act.seconds

    def end() -> None:
        weather.held_back = 0

    return end


def _store_down(world: World, act: Act) -> End:
    world.etcd.down = True
    return world.etcd.come_back


def _watch_lags(world: World, act: Act) -> End:
    world.store_weather.lag = 5.0 * act.much

    def end() -> None:
        world.store_weather.lag = 0.0

    return end


def _compact(world: World, act: Act) -> None:
    world.etcd.compact_now()


def _lease_ends(world: World, act: Act) -> None:
    """The store has lost the leader's lease; whoever holds it believes otherwise."""
    if lease := world.etcd.leader_lease():
        world.etcd.revoke_now(lease)


ACTIONS: tuple[Action, ...] = (
    Action("scale", 10.0, 0.0, _scale),
    Action("change_mind", 4.0, 0.0, _change_mind),
    Action("scale_other", 3.0, 0.0, _scale_other),
    Action("delete", 1.0, 0.0, _delete),
    Action("generation", 1.0, 0.0, _generation),
    Action("cordon", 2.0, 0.0, _cordon),
    Action("drain", 2.0, 90.0, _drain, shortest=2.0),
    Action("control", 2.0, 0.0, _control),
    Action("roll_out", 1.5, 0.0, _roll_out),
    Action("declare_lost", 2.0, 0.0, _declare_lost),
    Action("release_breaker", 0.5, 0.0, _release_breaker),
    Action("kill_agent", 5.0, 0.0, _kill_agent),
    Action("kill_agents", 1.0, 0.0, _kill_agents),
    Action("stop_agent", 2.0, 60.0, _stop_agent),
    Action("kill_controller", 4.0, 0.0, _kill_controller),
    Action("stop_controller", 4.0, 30.0, _stop_controller, shortest=5.0),
    Action("controller_down", 2.0, 60.0, _controller_down),
    Action("jump_clock", 1.0, 10.0, _jump_clock),
    Action("reboot", 3.0, 60.0, _reboot),
    Action("host_away", 2.0, 200.0, _reboot, shortest=40.0),
    Action("reboot_rack", 0.5, 60.0, _reboot_rack),
    Action("lose_ledger", 1.0, 0.0, _lose_ledger),
    Action("fill_ledger", 1.0, 40.0, _fill_ledger),
    Action("steps_fail", 2.0, 40.0, _steps_fail),
    Action("steps_lie", 2.0, 40.0, _steps_lie),
    Action("steps_hang", 1.0, 40.0, _steps_hang),
    Action("slow_drivers", 2.0, 40.0, _slow_drivers),
    Action("no_driver", 1.0, 40.0, _no_driver),
    Action("full_pool", 1.0, 40.0, _full_pool),
    Action("vms_die", 2.0, 0.0, _vms_die),
    Action("cut_host", 4.0, 200.0, _cut_host),
    Action("cut_rack", 1.0, 60.0, _cut_rack),
    Action("cut_controller", 1.5, 60.0, _cut_controller),
    Action("split", 2.0, 60.0, _split),
    Action("cut_from_store", 2.0, 30.0, _cut_from_store),
    Action("storm", 2.0, 30.0, _storm),
    Action("store_storm", 4.0, 60.0, _store_storm),
    Action("hold_back", 4.0, 40.0, _hold_back, shortest=5.5),
    Action("store_down", 1.0, 40.0, _store_down),
    Action("watch_lags", 1.0, 30.0, _watch_lags),
    Action("compact", 1.0, 0.0, _compact),
    Action("lease_ends", 1.0, 0.0, _lease_ends),
)
BY_NAME = {action.name: action for action in ACTIONS}
# Actions a simulated minute. A play has its own: some are calm between, some never.
PER_MINUTE = (8.0, 16.0, 32.0)
# What an action's weight is multiplied by in one play: most plays lack most kinds of trouble and
# have much of the others, which finds more than a little of everything in each.
EMPHASIS = (0.0, 0.0, 1.0, 4.0)


# And that of the actions a play is to stress.
STRESS = 30.0


def schedule(seed: str, minutes: float, stress: Collection[str] = ()) -> list[Act]:
    """The actions of a play. A scale comes first, so that there is something to lose.

    `stress`: names of actions that there are to be many of; then many of all.
    """
    random = Random(f"{seed}/schedule")
    weights = [one.weight * random.choice(EMPHASIS) for one in ACTIONS]
    weights[0] = ACTIONS[0].weight * random.choice((0.2, 1.0, 1.0))
    rate = random.choice(PER_MINUTE) / 60.0
    if stress:
        weights = [
            STRESS if action.name in stress else weight
            for action, weight in zip(ACTIONS, weights, strict=True)
        ]
        rate = max(PER_MINUTE) / 60.0
    acts = [Act(0.0, "scale", 0.0, 0.0, random.uniform(0.3, 0.9))]
    at = 0.0
    while (at := at + random.expovariate(rate)) < minutes * 60.0:
        (action,) = random.choices(ACTIONS, weights)
        seconds = action.shortest + (action.longest - action.shortest) * random.random() ** 2
        acts.append(Act(at, action.name, seconds, random.random(), random.random()))
    return acts
