"""Restart, reimage, stop and start of chosen VMs: which shards change, and that it stays so."""

from __future__ import annotations

import msgspec
import pytest

from fleet.ranges import IndexSet, parse_ranges
from fleet_controller.core.model import Assignment, FleetRecord, Shard
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.core.rollouts_and_drains.control import (
    Action,
    Controlled,
    check_indices,
    check_token,
    control,
)
from fleet_controller.core.rollouts_and_drains.drain_progress import (
    check_may_be_given_up,
    check_removable,
    count_given_up,
    released_for_good,
)
from tests.controller.rollouts_and_drains.moving_world import UID, World


def world_of(total: int, capacities: list[int] | None = None) -> World:
    world = World(capacities or [8, 8])
    world.scale(total)
    world.step()
    return world


def do(world: World, action: Action, chosen: str, since: int | None = None) -> Controlled:
    view = world.view()
    asked = world.revision if since is None else since
    made = control(view, world.fleet, action, parse_ranges(chosen), asked)
    for name, assignment in made.assignments.items():
        world.hosts[name].stored = assignment
        world.revision += 1
    world.settle()
    return made


def running(world: World) -> set[int]:
    return {i for host in world.hosts.values() for i in host.running}


def test_stop_and_start_are_the_power_of_those_chosen() -> None:
    world = world_of(8)
    made = do(world, Action.STOP, "2-5")
    assert (str(made.indices), made.hosts) == ("2-5", 2)
    assert running(world) == {0, 1, 6, 7}
    assert do(world, Action.STOP, "0-5").indices == parse_ranges("0-1"), "the rest is off already"
    do(world, Action.START, "0-7")
    assert running(world) == set(range(8))
    assert all(len(host.stored.shards) == 1 for host in world.hosts.values()), "whole again"


def test_what_is_off_stays_off_when_the_fleet_is_scaled_or_its_host_drained() -> None:
    world = world_of(8)
    do(world, Action.STOP, "0-1")
    world.scale(12)
    world.step()
    world.scale(6)
    world.step()
    assert running(world) == {2, 3, 4, 5}
    world.set_record("h0", draining=True)
    for _ in range(4):
        world.step()
    assert not world.held("h0") and running(world) == {2, 3, 4, 5}
    do(world, Action.START, "0-5")
    assert running(world) == set(range(6))


def give_up(world: World, name: str) -> None:
    host = world.hosts[name]
    host.stored = released_for_good(host.stored, frozenset(), world.revision)
    host.reachable = False
    world.set_record(name, lost=True)


def test_what_was_off_on_a_host_that_was_given_up_is_told_until_it_is_placed_again() -> None:
    world = world_of(8, [8, 8])
    stopped = IndexSet.of([world.held("h0").first])
    do(world, Action.STOP, str(stopped))
    held = world.held("h0")
    give_up(world, "h0")
    (gone, off) = sorted(world.hosts["h0"].stored.tombstones, key=lambda stone: len(stone.off))
    assert (gone.off, off.off) == (IndexSet(), stopped)
    assert count_given_up(world.hosts["h0"].stored, frozenset()) == len(held)
    with pytest.raises(Refused, match="1 VMs of h0 are stopped"):
        check_may_be_given_up("h0", world.view().hosts["h0"])


def test_what_was_off_is_forgotten_once_it_is_placed_again_or_wanted_no_more() -> None:
    world = world_of(8, [8, 8])
    stopped = world.held("h0")
    do(world, Action.STOP, str(stopped))
    give_up(world, "h0")
    placed, left = stopped.lowest(2), stopped.highest(2)
    elsewhere = Shard(UID, placed, 1, world.revision, power=False)
    other = world.hosts["h1"]
    other.stored = Assignment((*other.stored.shards, elsewhere))
    decided = world.decide().assignments["h0"]
    assert IndexSet.union_of(stone.off for stone in decided.tombstones) == left
    assert IndexSet.union_of(stone.ranges for stone in decided.tombstones) == stopped
    world.scale(left.first)
    decided = world.decide().assignments["h0"]
    assert not any(stone.off for stone in decided.tombstones)


def test_a_restart_grows_and_leaves_what_is_off_alone() -> None:
    world = world_of(4)
    do(world, Action.STOP, "0")
    made = do(world, Action.RESTART, "0-3")
    assert made.indices == parse_ranges("1-3")
    values = {i: s.restart for host in world.hosts.values() for s in host.stored.shards
              for i in s.ranges}  # fmt: skip
    assert values[0] == 0 and min(values[i] for i in (1, 2, 3)) > 0
    do(world, Action.RESTART, "1")
    again = {i: s.restart for host in world.hosts.values() for s in host.stored.shards
             for i in s.ranges}  # fmt: skip
    assert again[1] > values[1] and again[2] == values[2]


def test_a_restart_that_is_decided_twice_is_done_once() -> None:
    world = world_of(4)
    asked = world.revision
    do(world, Action.RESTART, "0", asked)
    assert do(world, Action.RESTART, "0-3", asked).indices == parse_ranges("1-3")


def retries(world: World) -> dict[int, int]:
    shards = [shard for host in world.hosts.values() for shard in host.stored.shards]
    return {index: shard.retry for shard in shards for index in shard.ranges}


def test_a_retry_grows_for_those_chosen_and_is_decided_once() -> None:
    world = world_of(4)
    asked = world.revision
    assert do(world, Action.RETRY, "0-1", asked).indices == parse_ranges("0-1")
    first = retries(world)
    assert min(first[0], first[1]) > 0 == first[2] == first[3]
    assert do(world, Action.RETRY, "0-3", asked).indices == parse_ranges("2-3")
    assert do(world, Action.RETRY, "0").indices == parse_ranges("0")
    assert retries(world)[0] > first[0]


def test_a_retry_is_forgotten_with_the_next_write_of_its_host() -> None:
    world = world_of(4)
    do(world, Action.RETRY, "0-3")
    do(world, Action.STOP, "0-3")
    assert set(retries(world).values()) == {0}


def test_reimaging_gives_a_new_birth_on_the_same_host() -> None:
    world = world_of(4)
    before = {i: b for host in world.hosts.values() for i, b in host.exists.items()}
    where = {name: world.held(name) for name in world.hosts}
    do(world, Action.REIMAGE, "1-2")
    after = {i: b for host in world.hosts.values() for i, b in host.exists.items()}
    assert {i for i in before if after[i] != before[i]} == {1, 2}
    assert {name: world.held(name) for name in world.hosts} == where


def test_what_is_on_its_way_is_stopped_wherever_it_will_be() -> None:
    world = world_of(4)
    leaving = world.held("h0")
    world.set_record("h0", draining=True)
    world.write(world.decide())
    do(world, Action.STOP, str(leaving))
    assert running(world).isdisjoint(set(leaving))
    for _ in range(4):
        world.step()
    assert not world.held("h0") and running(world).isdisjoint(set(leaving))


def test_a_plan_that_was_shown_is_carried_out_or_refused() -> None:
    world = world_of(8)
    plan = control(world.view(), world.fleet, Action.STOP, parse_ranges("0-3"), world.revision)
    same = control(world.view(), world.fleet, Action.STOP, parse_ranges("0-3"), world.revision)
    check_token(same, plan.token)
    do(world, Action.STOP, "0")
    other = control(world.view(), world.fleet, Action.STOP, parse_ranges("0-3"), world.revision)
    with pytest.raises(Refused, match="has changed since that plan was made"):
        check_token(other, plan.token)


def test_a_fleet_that_goes_is_left_alone() -> None:
    world = world_of(4)
    going = msgspec.structs.replace(world.fleet, deleting=True)
    with pytest.raises(Refused, match="is being deleted"):
        control(world.view(), going, Action.STOP, parse_ranges("0-3"), world.revision)


def test_a_host_is_removed_only_when_nothing_of_it_is_left() -> None:
    world = world_of(4, [8, 8])
    with pytest.raises(Refused, match="2 VMs are assigned to h0: drain it first"):
        check_removable("h0", world.view().hosts["h0"])
    world.set_record("h0", draining=True)
    world.step()
    world.write(world.decide())
    with pytest.raises(Refused, match="has not yet let go of 2 VMs"):
        check_removable("h0", world.view().hosts["h0"])
    world.settle()
    check_removable("h0", world.view().hosts["h0"])


def test_a_host_that_answers_is_not_given_up() -> None:
    world = world_of(4)
    with pytest.raises(Refused, match="h0 answers: its VMs run"):
        check_may_be_given_up("h0", world.view().hosts["h0"])
    world.hosts["h0"].reachable = False
    check_may_be_given_up("h0", world.view().hosts["h0"])


@pytest.mark.parametrize(
    ("total", "chosen", "said"),
    [
        (8, "0-7", ""),
        (8, "8", "fleet spv has VMs 0 to 7: there is no 8; nothing was done to any"),
        (8, "3,7-9,12", "fleet spv has VMs 0 to 7: there is no 8-9,12; nothing was done to any"),
        (0, "0", "fleet spv has no VMs: there is no 0; nothing was done to any"),
        (
            1,
            "1,3,5,7,9,11,13,15-20",
            "fleet spv has VMs 0 to 0: there is no 1,3,5,7,9,11 and 7 more; nothing was done to "
            "any",
        ),
    ],
)
def test_nothing_is_done_to_any_where_one_of_those_chosen_is_none_of_the_fleet(
    total: int, chosen: str, said: str
) -> None:
    fleet = FleetRecord("spv", UID, 1, total=total)
    if not said:
        return check_indices(fleet, parse_ranges(chosen))
    with pytest.raises(Refused) as refusal:
        check_indices(fleet, parse_ranges(chosen))
    assert (str(refusal.value), refusal.value.reason) == (said, Reason.NO_SUCH_VM)
