"""A world of two generations more, and what operators order of a rollout in it."""

from __future__ import annotations

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import RolloutState
from fleet_controller.core.passes import Pass
from fleet_controller.core.rollouts_and_drains.rollout_orders import (
    Ordered,
    RolloutAction,
    RolloutOptions,
    back,
    start,
    turn,
    undo,
)
from tests.controller.rollouts_and_drains.moving_world import UID, World

HOSTS = 4
ME = "operator/me"
ALL = IndexSet.span(0, 16)


def world_of(total: int = 16) -> World:
    """All of generation 1, and two more that it could be brought to."""
    world = World([8] * HOSTS)
    world.scale(total)
    world.step()
    for generation in (2, 3):
        world.specs[UID, generation] = types.FleetSpec(memory_bytes=4 << 20, vcpus=generation)
    return world


def begin(world: World, **wish: object) -> None:
    options = RolloutOptions(**{"generation": 2, "max_unavailable": 16, **wish})  # type: ignore[arg-type]
    take(world, start(world.view(), world.fleet, options, ME, world.now))


def order(world: World, action: str, generation: int = 0) -> None:
    view = world.view()
    if action == "undo":
        take(world, undo(view, world.fleet, ME, world.now))
    elif action == "back":
        options = RolloutOptions(generation=generation, max_unavailable=16)
        take(world, back(view, world.fleet, options, ME, world.now))
    else:
        take(world, turn(view, world.fleet, RolloutAction(action), ME, generation))


def take(world: World, ordered: Ordered) -> None:
    world.rollouts[UID], world.fleet = ordered.record, ordered.fleet
    world.revision += 1


def of_generation(world: World, generation: int) -> IndexSet:
    return IndexSet.union_of(
        shard.ranges
        for host in world.hosts.values()
        for shard in host.stored.shards
        if shard.generation == generation
    )


def steps(world: World, count: int = 6) -> Pass:
    for _ in range(count):
        decided = world.step()
    return decided


def state(world: World) -> RolloutState:
    return world.rollouts[UID].state


def said(decided: Pass) -> str:
    return decided.progress[UID].message
