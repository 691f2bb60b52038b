"""What happens to processes, machines and their drivers, as actions of a play."""

from __future__ import annotations

from collections.abc import Callable

from fleet.ranges import IndexSet
from tests.simulation.doubles.drivers import WELL, worse
from tests.simulation.engine.clockwork import Process
from tests.simulation.faults.acts import Act, End, controller_of, machine_of, one_of
from tests.simulation.world import World


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


def kill_agent(world: World, act: Act) -> None:
    machine = machine_of(world, act)
    _soon(world, machine.process, 1 + int(act.much * 60), machine.kill)


def kill_agents(world: World, act: Act) -> None:
    """Many at once, as an upgrade does."""
    for number, machine in enumerate(world.machines.values()):
        if (number * 0.618 + act.which) % 1.0 < act.much:
            machine.kill()


def stop_agent(world: World, act: Act) -> End:
    return _stopped(world, machine_of(world, act).process, 1 + int(act.much * 60))


def kill_controller(world: World, act: Act) -> None:
    controller = controller_of(world, act)
    _soon(world, controller.process, 1 + int(act.much * 200), controller.kill)


def stop_controller(world: World, act: Act) -> End:
    return _stopped(world, controller_of(world, act).process, 1 + int(act.much * 200))


def controller_down(world: World, act: Act) -> End:
    """Its machine is off for a while."""
    controller = controller_of(world, act)
    controller.machine_off()
    return controller.machine_on


def jump_clock(world: World, act: Act) -> None:
    """Ahead, as clocks do that count while a machine is suspended."""
    machine, controller = machine_of(world, act), controller_of(world, act)
    (machine if act.much < 0.5 else controller).jump_clock(act.seconds)


# By how much the time of day of a controller is wrong for a while.
_WRONG_BY = (-90.0, 45.0, 600.0, 3.0 * 3600, 9.0 * 86_400)


def wrong_time(world: World, act: Act) -> End | None:
    """Not while an operator holds the breaker closed until some time of day."""
    controller = controller_of(world, act)
    if world.operator.breaker_held_until > world.loop.now:
        return None
    controller.wall_ahead = one_of(_WRONG_BY, act.much)

    def end() -> None:
        controller.wall_ahead = 0.0

    return end


def reboot(world: World, act: Act) -> End | None:
    machine = machine_of(world, act)
    if not machine.on:
        return None
    machine.power_off()
    return machine.power_on


def reboot_rack(world: World, act: Act) -> End | None:
    rack = machine_of(world, act).rack
    hit = [one for one in world.machines.values() if one.rack == rack and one.on]
    for machine in hit:
        machine.power_off()

    def end() -> None:
        for machine in hit:
            machine.power_on()

    return end


def lose_ledger(world: World, act: Act) -> None:
    """Not while a recovery is to come: a host that knows nothing then is taken for a new one."""
    if world.store.frozen:
        return
    machine_of(world, act).lose_ledger(broken=act.much < 0.5)


def fill_ledger(world: World, act: Act) -> End:
    machine = machine_of(world, act)
    machine.disk.full = True

    def end() -> None:
        machine.disk.full = False

    return end


def _mood(world: World, act: Act, **changes: float) -> End:
    hit = [machine_of(world, act)]
    if act.much > 0.8:
        hit = list(world.machines.values())
    for machine in hit:
        machine.behaviour.mood = worse(machine.behaviour.mood, **changes)

    def end() -> None:
        for machine in hit:
            machine.behaviour.mood = WELL

    return end


def steps_fail(world: World, act: Act) -> End:
    return _mood(world, act, fail=0.1 + 0.4 * act.much)


def steps_lie(world: World, act: Act) -> End:
    return _mood(world, act, lie_failed=0.3, lie_done=0.2)


def steps_hang(world: World, act: Act) -> End:
    return _mood(world, act, hang=0.3)


def slow_drivers(world: World, act: Act) -> End:
    return _mood(world, act, slow=20.0)


def no_driver(world: World, act: Act) -> End:
    return _mood(world, act, broken=True)


def full_pool(world: World, act: Act) -> End:
    return _mood(world, act, full=True)


def vms_die(world: World, act: Act) -> None:
    machine = machine_of(world, act)
    for kin, active in machine.hypervisor.all_active().items():
        dying = IndexSet.of(i for i in active if (i * 0.618 + act.which) % 1.0 < act.much)
        if dying:
            machine.hypervisor.lose(kin.fleet_uid, dying)
