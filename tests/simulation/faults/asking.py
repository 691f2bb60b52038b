"""What operators ask, as actions of a play."""

from __future__ import annotations

from functools import partial
from random import Random

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.changes.hosts import DrainDeadline
from fleet_controller.core.rollouts_and_drains.control import Action as VmAction
from fleet_controller.core.rollouts_and_drains.rollout_orders import RolloutAction, RolloutOptions
from tests.simulation.faults.acts import Act, End, machine_of, one_of
from tests.simulation.world import SPEC, World


def scale(world: World, act: Act) -> None:
    """Most totals fit; some leave VMs without a place."""
    world.operator.scale("spv", int(act.much * world.shape.capacity * 1.1))


def change_mind(world: World, act: Act) -> None:
    """Up, and down, and up again, before the last is done."""
    capacity = world.shape.capacity
    for number in range(4):
        share = (act.much + 0.5 * number) % 1.0
        pause = number * 6.0 * act.which
        world.loop.after(pause, world.operator.scale, "spv", int(share * capacity))


def scale_other(world: World, act: Act) -> None:
    if "web" in world.store.fleets:
        world.operator.scale("web", int(act.much * world.shape.capacity * 0.4))
    else:
        other = types.FleetSpec()
        other.CopyFrom(SPEC)
        other.placement.policy = types.Placement.POLICY_PACK
        other.on_loss = types.ON_LOSS_WAIT
        other.on_isolation_stop_after_seconds = world.stop_after
        world.operator.apply("web", other)


def delete(world: World, act: Act) -> None:
    if "web" in world.store.fleets:
        world.operator.delete("web")


def generation(world: World, act: Act) -> None:
    spec = types.FleetSpec()
    spec.CopyFrom(world.spec)
    spec.vcpus = 1 + int(act.much * 4)
    world.operator.apply("spv", spec)


def settings(world: World, act: Act) -> None:
    """Other settings of the template that the fleet has: no generation, and no VM is touched."""
    fleet = world.store.fleets.get("spv")
    spec = types.FleetSpec()
    have = world.store.specs.get((fleet.uid, fleet.generation)) if fleet else None
    spec.CopyFrom(have or world.spec)
    world.budget(Random(f"{world.seed}/{act.much}"))
    spec.ClearField("disruption")
    if world.spec.HasField("disruption"):
        spec.disruption.CopyFrom(world.spec.disruption)
    spec.admission.parallel = 1 + int(act.which * 8)
    spec.placement.policy = one_of(
        [types.Placement.POLICY_SPREAD, types.Placement.POLICY_PACK], act.much
    )
    world.operator.apply("spv", spec)


def rebalance(world: World, act: Act) -> End | None:
    """After another bound, or none; some are stopped in their midst."""
    fleet = world.store.fleets.get("spv")
    spec = types.FleetSpec()
    spec.CopyFrom(world.store.specs.get((fleet.uid, fleet.generation), SPEC) if fleet else SPEC)
    a_host = world.shape.capacity // len(world.machines)
    spec.placement.per_host = one_of([0, 1 + a_host // 2, max(1, a_host - 1)], act.much)
    world.operator.apply("spv", spec)
    begin = partial(world.operator.rebalance, "spv", only_bounds=act.which < 0.3)
    world.loop.after(1.0, begin)
    return partial(world.operator.stop_rebalance, "spv") if act.which > 0.7 else None


# Points every few minutes, by the hours of whatever zone: first one total, then the other.
_TIDES = (
    ("*/2 * * * *", "1-59/2 * * * *"),
    ("*/3 * * * *", "1-59/3 * * * *"),
    ("0-59/4 * * * *", "2-59/4 * * * *"),
)
_ZONES = ("", "UTC", "Europe/Berlin", "Asia/Kolkata", "America/Argentina/Buenos_Aires")


def tides(world: World, act: Act) -> None:
    """Another schedule, or none; a total for a time, or by hand."""
    most = world.shape.capacity * 0.2
    total = int(act.much * most)
    if "tides" in world.store.fleets and act.which > 0.5:
        seconds = 60 + int(act.much * 90) if act.which > 0.7 else 0
        world.operator.scale_for("tides", total, seconds)
        return
    spec = types.FleetSpec()
    spec.CopyFrom(SPEC)
    if act.much < 0.85:
        spec.schedule.time_zone = one_of(_ZONES, act.much)
        high, low = one_of(_TIDES, (act.which * 7) % 1.0)
        spec.schedule.points.add(at=high, total=total)
        spec.schedule.points.add(at=low, total=int(most) - total)
    world.operator.apply("tides", spec)


def cordon(world: World, act: Act) -> None:
    world.operator.cordon(machine_of(world, act).id, act.much < 0.6)


def declare_lost(world: World, act: Act) -> None:
    """One that is not live, if there is any; or that one is not."""
    if away := _away(world):
        world.operator.declare_lost(one_of(away, act.which), act.much < 0.8)


def remove(world: World, act: Act) -> None:
    """A host that is drained, if any is; else one that is away, by force, or all that it has."""
    hosts = world.store.hosts
    drained = [host for host, record in hosts.items() if record.drained]
    lost = [host for host, record in hosts.items() if record.lost]
    if drained:
        world.operator.remove(one_of(drained, act.which), force=False)
    elif lost and act.much < 0.4:
        world.operator.give_up(one_of(lost, act.which))
    elif away := lost or _away(world):
        world.operator.remove(one_of(away, act.which), force=True)


def _away(world: World) -> list[str]:
    """Hosts that are not live, for all that the leader knows."""
    found = world.operator.leading()
    links = found[1].memory.links.all() if found is not None else ()
    return [link.host_id for link in links if not link.live]


def release_breaker(world: World, act: Act) -> None:
    """By controllers that agree on the time of day."""
    if any(controller.wall_ahead for controller in world.controllers):
        return
    world.operator.release_breaker(5.0 + 40.0 * act.much)


def drain(world: World, act: Act) -> End | None:
    """Some are cancelled in their midst; some stop at a deadline, or go on beyond budgets then."""
    host = machine_of(world, act).id
    deadline = DrainDeadline(5.0 + 60.0 * (act.much % 0.25), act.much < 0.25)
    world.operator.drain(host, True, deadline if act.much < 0.5 else None)
    return lambda: world.operator.drain(host, False)


def expel(world: World, act: Act) -> End:
    """Any one, live or not; after a while it is readmitted."""
    host = machine_of(world, act).id
    world.operator.expel(host)
    return lambda: world.operator.readmit(host)


def control(world: World, act: Act) -> None:
    """A third of the VMs, or all of them."""
    action = one_of(list(VmAction), act.much)
    total = world.shape.capacity
    first = int(act.which * total)
    chosen = IndexSet.span(first, first + total // 3) if act.which < 0.8 else None
    world.operator.control("spv", action, chosen)


def roll_out(world: World, act: Act) -> None:
    """To a new generation; a few at a time, or a share."""
    generation(world, act)
    few = 1 + int(act.which * 6)
    share = RolloutOptions(max_unavailable_share=0.3, halt_share=0.9)
    options = share if act.which < 0.5 else RolloutOptions(max_unavailable=few, halt_share=0.9)
    world.loop.after(1.0, world.operator.roll_out, "spv", options)


def canary(world: World, act: Act) -> End:
    """To a new generation, a share of it first. Some are promoted by themselves; what becomes of
    the others somebody says in the end."""
    generation(world, act)
    options = RolloutOptions(
        max_unavailable_share=0.3,
        halt_share=0.1 if act.which < 0.3 else 0.9,
        canary_share=0.05 + 0.4 * act.much,
        promote_after=20 if act.much < 0.4 else 0,
        undo_on_halt=act.which < 0.5,
    )
    world.loop.after(1.0, world.operator.roll_out, "spv", options)
    return lambda: _end_canary(world, act)


def _end_canary(world: World, act: Act) -> None:
    ends = ("promote", "hold", "hold new", "undo", "back", "nothing")
    fleet = world.store.fleets.get("spv")
    newest = max((g for uid, g in world.store.specs if fleet and uid == fleet.uid), default=1)
    match one_of(ends, (act.which + act.much) % 1.0):
        case "promote":
            world.operator.turn_rollout("spv", RolloutAction.PROMOTE)
        case "hold":
            world.operator.turn_rollout("spv", RolloutAction.HOLD)
        case "hold new":
            world.operator.turn_rollout("spv", RolloutAction.HOLD, newest)
        case "undo":
            world.operator.roll_back("spv", None)
        case "back":
            to = 1 + int(act.much * newest)
            back = RolloutOptions(generation=to, max_unavailable_share=0.3, halt_share=0.9)
            world.operator.roll_back("spv", back)
        case _:
            pass
