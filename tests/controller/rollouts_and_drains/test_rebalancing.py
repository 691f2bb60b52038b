"""Rebalances carried out by passes: no copy twice, never more than asked for, over in the end."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Capacity, HostRecord, RebalanceRecord
from fleet_controller.core.passes import is_at_rest
from tests.controller.rollouts_and_drains.moving_world import UID, Host, World


def world_of(total: int, hosts: int = 3, guests: int = 12) -> World:
    world = World([guests] * hosts)
    world.scale(total)
    world.step()
    assert len(world.placed) == total
    return world


def add_host(world: World, name: str, guests: int = 12) -> None:
    world.hosts[name] = Host(
        HostRecord(name, f"{name}:1", labels={"rack": "r0"}, capacity=Capacity(guests))
    )
    world.revision += 1


def bound(world: World, per_host: int) -> None:
    world.specs = {
        (UID, 1): types.FleetSpec(
            memory_bytes=4 << 20, placement=types.Placement(per_host=per_host)
        )
    }
    world.revision += 1


def ask(world: World, *, only_bounds: bool = False) -> None:
    world.rebalances = {UID: RebalanceRecord(UID, only_bounds)}
    world.revision += 1


def counts(world: World) -> list[int]:
    return [len(world.held(name)) for name in sorted(world.hosts)]


def until_over(world: World, most: int = 250) -> int:
    """How many VMs began anew elsewhere."""
    where = {i: name for name in world.hosts for i in world.held(name)}
    for _ in range(200):
        world.step(most)
        if not world.rebalances:
            after = {i: name for name in world.hosts for i in world.held(name)}
            return sum(1 for i, name in after.items() if where.get(i) != name)
    raise AssertionError("it goes on for ever")


def test_a_vm_runs_where_it_is_until_the_other_host_has_it_prepared() -> None:
    world = world_of(12)
    add_host(world, "h3")
    assert not world.decide().assignments, "nothing moves by itself"
    ask(world)
    world.write(world.decide())
    assert counts(world) == [4, 4, 4, 0] and len(world.staged("h3")) == 3
    world.settle()
    assert sum(len(host.running) for host in world.hosts.values()) == 12
    assert until_over(world) == 3
    assert counts(world) == [3, 3, 3, 3]


def test_takers_get_what_the_plan_says_however_few_move_at_once() -> None:
    world = world_of(24, hosts=2)
    for name in ("h2", "h3"):
        add_host(world, name)
    ask(world)
    assert until_over(world, most=2) == 12, "as few as can be"
    assert counts(world) == [6, 6, 6, 6]


def test_no_more_are_on_their_way_than_may_be() -> None:
    world = world_of(24, hosts=2)
    add_host(world, "h2")
    ask(world)
    for _ in range(20):
        world.step(3)
        assert len(IndexSet.union_of(world.staged(name) for name in world.hosts)) <= 3


def test_what_breaks_a_bound_goes_before_what_is_only_leveled() -> None:
    world = world_of(24, hosts=2)
    add_host(world, "h2")
    bound(world, 10)
    ask(world)
    decided = world.decide(4)
    assert decided.rebalances[UID].moving == 4
    world.write(decided)
    world.settle()
    until_over(world)
    assert counts(world) == [8, 8, 8]


def test_bounds_alone_leave_the_rest() -> None:
    world = world_of(24, hosts=2)
    add_host(world, "h2")
    bound(world, 11)
    ask(world, only_bounds=True)
    assert until_over(world) == 2
    assert counts(world) == [11, 11, 2]


def test_what_fits_nowhere_is_told_and_waits_for_room() -> None:
    world = world_of(24, hosts=2)
    bound(world, 10)
    ask(world)
    for _ in range(5):
        decided = world.step()
    assert world.rebalances and decided.rebalances[UID].unplaced == 4
    assert not is_at_rest(world.view(), decided)
    add_host(world, "h2")
    until_over(world)
    assert counts(world) == [8, 8, 8]


def test_a_bound_that_holds_no_more_is_given_up() -> None:
    world = world_of(24, hosts=2)
    bound(world, 10)
    ask(world)
    world.step()
    bound(world, 0)
    assert until_over(world) == 0


def test_one_that_is_stopped_gives_back_what_is_only_prepared() -> None:
    world = world_of(12)
    add_host(world, "h3")
    ask(world)
    world.step()
    assert world.staged("h3")
    world.rebalances = {}
    for _ in range(4):
        world.step()
    assert counts(world) == [4, 4, 4, 0] and not world.staged("h3")


def test_stopped_vms_move_first_and_stay_off() -> None:
    world = world_of(12)
    held = world.held("h0")
    off = held.highest(1)
    stored = world.hosts["h0"].stored
    on, *_ = stored.shards
    world.hosts["h0"].stored = msgspec.structs.replace(
        stored,
        shards=(
            msgspec.structs.replace(on, ranges=held - off),
            msgspec.structs.replace(on, ranges=off, power=False),
        ),
    )
    world.settle()
    add_host(world, "h3")
    ask(world)
    until_over(world)
    assert off.issubset(world.held("h3"))
    assert off.first not in world.hosts["h3"].running


def test_a_host_that_is_cordoned_meanwhile_keeps_nothing_prepared() -> None:
    world = world_of(12)
    add_host(world, "h3")
    ask(world)
    world.write(world.decide())
    world.set_record("h3", cordoned=True)
    until_over(world)
    assert counts(world) == [4, 4, 4, 0]


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.integers(4, 14), min_size=2, max_size=5),
    st.integers(0, 40),
    st.integers(0, 9),
    st.lists(st.sampled_from(["step", "half", "bound", "free", "cut", "mend", "cordon", "ask"]),
             max_size=14),
    st.integers(1, 5),
)  # fmt: skip
def test_whatever_happens_meanwhile_no_vm_is_twice_and_a_second_one_is_empty(
    capacities: list[int], total: int, per_host: int, happens: list[str], most: int
) -> None:
    world = World(capacities)
    world.scale(min(total, sum(capacities) - 2))
    world.step()
    bound(world, per_host)
    ask(world)
    for number, what in enumerate(happens):
        name = f"h{number % len(capacities)}"
        match what:
            case "step":
                world.step(most)
            case "half":
                decided = world.decide(most)
                world.write(decided, list(decided.assignments)[::2])
                world.settle()
            case "bound":
                bound(world, 1 + number)
            case "free":
                bound(world, 0)
            case "cut":
                world.hosts[name].reachable = False
            case "mend":
                world.hosts[name].reachable = True
            case "cordon":
                world.set_record(name, cordoned=not world.hosts[name].record.cordoned)
            case _:
                ask(world)
        world.check()
    for name in world.hosts:
        world.hosts[name].reachable = True
        world.set_record(name, cordoned=False)
    bound(world, 0)
    world.settle()
    ask(world)
    until_over(world, most)
    before = counts(world)
    ask(world)
    assert until_over(world, most) == 0
    assert counts(world) == before
