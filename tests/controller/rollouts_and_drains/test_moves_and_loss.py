"""Draining hosts, staged VMs and stopped ones when hosts are declared lost in their midst."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.host_loss.duplicates import duplicates
from fleet_controller.core.model import Assignment
from fleet_controller.core.passes import Pass
from fleet_controller.core.rollouts_and_drains.control import Action, control
from fleet_controller.core.rollouts_and_drains.drain_blockers import DrainFacts, drain_blockers
from fleet_controller.core.rollouts_and_drains.drain_progress import (
    drain_progress_of,
    released_for_good,
)
from tests.controller.rollouts_and_drains.moving_world import UID, World

HOSTS = 4
REPLACE, WAIT = types.ON_LOSS_REPLACE, types.ON_LOSS_WAIT


def world_of(
    total: int, on_loss: types.OnLoss.ValueType = REPLACE, capacities: list[int] | None = None
) -> World:
    world = World(capacities or [8] * HOSTS)
    world.specs = {(UID, 1): types.FleetSpec(memory_bytes=4 << 20, on_loss=on_loss)}
    world.scale(total)
    world.step()
    assert len(world.placed) == total
    return world


def lose(world: World, name: str) -> None:
    world.hosts[name].reachable = False
    world.set_record(name, lost=True)


def come_back(world: World, name: str) -> None:
    """It is told its assignment first; then the verdict ends."""
    host = world.hosts[name]
    host.reachable = True
    host.obey()
    host.report()
    world.set_record(name, lost=False)


def running(world: World) -> set[int]:
    return {i for host in world.hosts.values() if host.reachable for i in host.running}


def stop(world: World, indices: IndexSet) -> None:
    made = control(world.view(), world.fleet, Action.STOP, indices, world.revision)
    world.write(Pass(made.assignments))
    world.settle()


def staged_anywhere(world: World) -> IndexSet:
    return IndexSet.union_of(world.staged(name) for name in world.hosts)


# A draining host that is declared lost in the middle


def test_a_draining_host_that_is_lost_is_succeeded_by_those_that_have_prepared_its_vms() -> None:
    world = world_of(16)
    world.set_record("h0", draining=True)
    world.write(world.decide(most=2))
    world.settle()
    prepared = staged_anywhere(world)
    where = {name: world.staged(name) for name in world.hosts if world.staged(name)}
    assert len(prepared) == 2
    lose(world, "h0")
    first = world.decide(most=2)
    assert first.first == {"h0"} and next(iter(first.assignments)) == "h0"
    world.write(first)
    world.settle()
    assert world.placed == IndexSet.span(0, 16) - prepared, "the rest is placed at once"
    world.step()
    assert world.placed == IndexSet.span(0, 16) and not staged_anywhere(world)
    assert all(not part - world.held(name) for name, part in where.items())
    assert running(world) == set(range(16))
    assert drain_progress_of(world.view().hosts["h0"], {}).left == 0, "nobody waits for a lost host"
    come_back(world, "h0")
    world.step()
    assert not world.hosts["h0"].exists and not world.held("h0"), "it is drained still"


def test_a_draining_host_that_is_lost_keeps_what_waits_for_it_and_moves_it_when_it_is_back() -> (
    None
):
    world = world_of(16, WAIT)
    leaving = world.held("h0")
    world.set_record("h0", draining=True)
    world.write(world.decide(most=2))
    lose(world, "h0")
    for _ in range(3):
        world.step(most=2)
    assert world.held("h0") == leaving and len(staged_anywhere(world)) == 2
    view = world.view().hosts["h0"]
    why = drain_blockers("h0", view, drain_progress_of(view, {}), DrainFacts(400.0))
    assert why.startswith("h0 is declared lost, and 4 VMs of fleets that wait for it stay")
    come_back(world, "h0")
    for _ in range(8):
        world.step(most=2)
    assert not world.held("h0") and running(world) == set(range(16))


def test_what_waits_for_a_lost_host_is_given_up_by_force_and_starts_where_it_was_prepared() -> None:
    world = world_of(16, WAIT)
    world.set_record("h0", draining=True)
    world.write(world.decide(most=2))
    world.settle()
    where = {name: world.staged(name) for name in world.hosts if world.staged(name)}
    lose(world, "h0")
    world.step(most=2)
    host = world.hosts["h0"]
    host.stored = released_for_good(host.stored, frozenset(), world.revision)
    world.set_record("h0", draining=True)
    world.step()
    assert world.placed == IndexSet.span(0, 16) and running(world) == set(range(16))
    assert all(not part - world.held(name) for name, part in where.items())
    come_back(world, "h0")
    assert not host.exists


# A host that has prepared VMs is declared lost


@pytest.mark.parametrize("on_loss", [REPLACE, WAIT])
def test_what_was_only_staged_on_a_lost_host_is_staged_elsewhere_whatever_waits(
    on_loss: types.OnLoss.ValueType,
) -> None:
    world = world_of(4, on_loss, [8, 8, 8])
    leaving = world.held("h0")
    world.set_record("h0", draining=True)
    world.set_record("h2", cordoned=True)
    world.write(world.decide())
    assert world.staged("h1") == leaving
    world.set_record("h2", cordoned=False)
    lose(world, "h1")
    world.write(world.decide())
    assert not world.staged("h1")
    for _ in range(4):
        world.step()
    assert not world.held("h0") and not leaving - world.held("h2")


def test_what_was_only_staged_on_a_lost_host_is_not_said_to_run_twice() -> None:
    world = world_of(4, WAIT, [8, 8])
    world.set_record("h0", draining=True)
    world.write(world.decide())
    lose(world, "h1")
    decided = world.decide()
    assert [stone.staged for stone in decided.assignments["h1"].tombstones] == [True]
    assert decided.duplicates == duplicates(world.view(), decided.assignments) == {}


@pytest.mark.parametrize("on_loss", [REPLACE, WAIT])
def test_what_a_draining_host_lets_go_while_its_successor_is_lost_is_placed_once(
    on_loss: types.OnLoss.ValueType,
) -> None:
    """There is nothing to wait for: it never ran on the lost one."""
    world = world_of(4, on_loss, [8, 8, 8])
    leaving = world.held("h0")
    world.set_record("h0", draining=True)
    world.set_record("h2", cordoned=True)
    world.write(world.decide())
    world.settle()
    world.write(world.decide())
    assert not world.held("h0") and world.hosts["h0"].running, "it has not heard of it yet"
    world.set_record("h2", cordoned=False)
    lose(world, "h1")
    world.write(world.decide())
    assert leaving.isdisjoint(world.placed), "h0 may run them still"
    world.settle()
    world.step()
    assert world.placed == IndexSet.span(0, 4) and set(leaving) <= running(world)


# What operators had stopped


def test_stopped_vms_of_a_lost_host_are_placed_off_and_stay_off() -> None:
    world = world_of(16)
    stopped = world.held("h0").lowest(2)
    stop(world, stopped)
    lose(world, "h0")
    for _ in range(3):
        world.step()
    assert world.placed == IndexSet.span(0, 16)
    assert running(world) == set(range(16)) - set(stopped)
    assert not any(stone.off for stone in world.hosts["h0"].stored.tombstones), "once is enough"
    come_back(world, "h0")
    world.set_record("h1", draining=True)
    for _ in range(6):
        world.step()
    assert not world.held("h1") and running(world) == set(range(16)) - set(stopped)


def test_stopped_vms_stay_off_though_their_host_is_back_before_there_is_room_elsewhere() -> None:
    world = world_of(14, REPLACE, [8, 8])
    stopped = world.held("h0").highest(3)
    stop(world, stopped)
    lose(world, "h0")
    for _ in range(2):
        world.step()
    waiting = stopped - world.placed
    assert waiting, "not all fit on the other"
    come_back(world, "h0")
    assert world.hosts["h0"].released >= {s.id for s in world.hosts["h0"].stored.tombstones}
    for _ in range(3):
        world.step()
    assert world.placed == IndexSet.span(0, 14)
    assert running(world) == set(range(14)) - set(stopped)
    assert world.hosts["h0"].stored.tombstones == ()


def test_a_move_of_stopped_vms_to_a_host_that_is_lost_leaves_them_off() -> None:
    world = world_of(4, REPLACE, [8, 8, 8])
    leaving = world.held("h0")
    stop(world, leaving)
    world.set_record("h0", draining=True)
    world.set_record("h2", cordoned=True)
    world.write(world.decide())
    world.settle()
    world.write(world.decide())
    world.set_record("h2", cordoned=False)
    lose(world, "h1")
    for _ in range(4):
        world.step()
    assert world.placed == IndexSet.span(0, 4)
    assert running(world) == set(range(4)) - set(leaving)


events = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(0, 2**HOSTS - 1)),
        st.tuples(st.just("pass"), st.just(2**HOSTS - 1)),
        st.tuples(st.sampled_from(["obey", "report", "drain", "undrain"]), st.integers(0, 3)),
        st.tuples(st.sampled_from(["cut", "mend", "lose", "lose", "return"]), st.integers(0, 3)),
        st.tuples(st.just("stop"), st.integers(0, 11)),
        st.tuples(st.just("scale"), st.integers(12, 20)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(events, st.sampled_from([REPLACE, WAIT]))
def test_nothing_is_lost_or_doubled_and_what_is_stopped_stays_so_whoever_is_lost(
    happened: list[tuple[str, int]], on_loss: types.OnLoss.ValueType
) -> None:
    """Of each pass any part may be written that the order of writes allows."""
    world = world_of(12, on_loss)
    off: set[int] = set()
    for what, which in happened:
        _happen(world, off, what, which)
        world.check()
    for name, host in world.hosts.items():
        if host.record.lost:
            come_back(world, name)
        host.reachable = True
        world.set_record(name, draining=name == "h3")
    for _ in range(16):
        world.step()
    assert world.placed == IndexSet.span(0, world.fleet.total)
    assert not world.held("h3") and not staged_anywhere(world)
    assert sorted(i for host in world.hosts.values() for i in host.running) == sorted(
        set(range(world.fleet.total)) - off
    )
    assert not any(s.off for host in world.hosts.values() for s in host.stored.tombstones)


def _happen(world: World, off: set[int], what: str, which: int) -> None:
    name = f"h{which}"
    match what:
        case "pass":
            decided = world.decide(most=5)
            landing = {f"h{n}" for n in range(HOSTS) if which >> n & 1}
            first, rest = decided.in_order()
            world.write(Pass(first), landing & first.keys())
            if first.keys() <= landing:
                world.write(Pass(rest), landing & rest.keys())
        case "obey" if world.hosts[name].reachable:
            world.hosts[name].obey()
        case "report" if world.hosts[name].reachable:
            world.hosts[name].report()
        case "drain" | "undrain":
            world.set_record(name, draining=what == "drain")
        case "cut" | "mend":
            world.hosts[name].reachable = what == "mend"
        case "lose" if not world.hosts[name].reachable:
            world.set_record(name, lost=True)
        case "return" if world.hosts[name].record.lost:
            come_back(world, name)
        case "stop":
            made = control(
                world.view(), world.fleet, Action.STOP, IndexSet.of([which]), world.revision
            )
            world.write(Pass(made.assignments))
            off |= set(made.indices)
        case "scale":
            world.scale(which)


def test_an_assignment_that_lets_go_is_written_before_those_that_take_over() -> None:
    one = Assignment()
    decided = Pass({"b": one, "a": one, "z": one}, first=frozenset({"a"}))
    assert decided.in_order() == ({"a": one}, {"b": one, "z": one})
