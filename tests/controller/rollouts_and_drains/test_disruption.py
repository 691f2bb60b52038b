"""One disruption budget for a fleet: whoever takes its VMs down on purpose shares it."""

from __future__ import annotations

import msgspec
import pytest

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import OrdersRecord, RolloutState, VmOrder
from fleet_controller.core.passes import Pass, decide
from fleet_controller.core.rollouts_and_drains.control import Action
from fleet_controller.core.rollouts_and_drains.disruption import (
    Bounds,
    DisruptionBudget,
    bounds_of_spec,
)
from fleet_controller.core.rollouts_and_drains.rollout_orders import RolloutOptions, start
from fleet_controller.core.rollouts_and_drains.vm_orders import ordered
from tests.controller.rollouts_and_drains.moving_world import UID, World

ALL = IndexSet.span(0, 16)
OTHER = "4fdd4a3e-0000-4b57-9a43-5d2f6f0a1c11"


def spec_with(at_most: int = 0, share: float = 0.0, per_minute: int = 0) -> types.FleetSpec:
    asked = types.Disruption(at_most=at_most, share=share, per_minute=per_minute)
    return types.FleetSpec(memory_bytes=4 << 20, disruption=asked)


def world_of(at_most: int = 3, per_minute: int = 0) -> World:
    """Sixteen VMs that run on four hosts, with a budget."""
    world = World([8] * 4)
    world.specs[UID, 1] = spec_with(at_most, per_minute=per_minute)
    world.scale(16)
    world.step()
    return world


def give(world: World, action: Action, indices: IndexSet = ALL) -> None:
    order = VmOrder(indices, world.revision)
    world.orders = {UID: ordered(world.view(), world.fleet, action, order)}
    world.revision += 1


def drain(world: World, host: str, *, beyond: bool = False) -> None:
    mine = world.hosts[host]
    mine.record = msgspec.structs.replace(mine.record, draining=True, drain_ignores_budget=beyond)
    world.revision += 1


def roll_out(world: World, max_unavailable: int = 16, at_most: int = 3) -> None:
    new = spec_with(at_most)
    new.vcpus = 2
    world.specs[UID, 2] = new
    options = RolloutOptions(max_unavailable=max_unavailable)
    begun = start(world.view(), world.fleet, options, "operator/me", 5.0)
    world.rollouts[UID], world.fleet = begun.record, begun.fleet
    world.revision += 1


def births(world: World) -> dict[int, int]:
    return {
        i: shard.birth
        for host in world.hosts.values()
        for shard in host.stored.shards
        if not shard.staged
        for i in shard.ranges
    }


def down_after(world: World, decided: Pass) -> IndexSet:
    """What does not run, or is let go, made anew or restarted by the pass."""
    runs = {i for host in world.hosts.values() for i in host.running if host.is_as_stored(i)}
    kept: set[int] = set()
    for name, host in world.hosts.items():
        now = decided.assignments.get(name, host.stored)
        lives = {
            (i, s.birth, s.restart) for s in host.stored.shards if not s.staged for i in s.ranges
        }
        kept |= {
            i
            for s in now.shards
            if not s.staged
            for i in s.ranges
            if i in runs and (i, s.birth, s.restart) in lives
        }
    return ALL - IndexSet.of(kept)


def play(world: World, most: int, passes: int = 60) -> None:
    """Passes, each obeyed before the next, none of which takes down more than `most`."""
    for _ in range(passes):
        decided = world.decide()
        assert len(down_after(world, decided)) <= most
        world.write(decided)
        world.settle()


def test_the_smaller_of_number_and_share_holds_and_one_vm_may_always_be_down() -> None:
    assert bounds_of_spec(types.FleetSpec(), 100) is None
    assert bounds_of_spec(spec_with(at_most=7), 100) == Bounds(7)
    assert bounds_of_spec(spec_with(at_most=7, share=0.05), 100) == Bounds(5)
    assert bounds_of_spec(spec_with(share=0.001), 100) == Bounds(1)
    assert bounds_of_spec(spec_with(), 100) == Bounds(100)
    assert bounds_of_spec(spec_with(at_most=1, per_minute=9), 100) == Bounds(1, 9)


def test_a_drain_hands_over_no_more_than_may_be_down() -> None:
    world = world_of(at_most=1)
    drain(world, "h0")
    play(world, 1)
    assert not world.held("h0")


def test_a_rollout_takes_down_no_more_than_its_fleets_budget() -> None:
    world = world_of()
    roll_out(world)
    play(world, 3)
    assert world.rollouts[UID].state is RolloutState.DONE


@pytest.mark.parametrize("action", [Action.RESTART, Action.REIMAGE])
def test_vms_are_restarted_and_made_anew_in_waves_until_all_are(action: Action) -> None:
    world = world_of()
    before = births(world)
    give(world, action)
    play(world, 3)
    assert not world.orders
    if action is Action.REIMAGE:
        assert all(births(world)[i] > before[i] for i in ALL)
    else:
        restarted = [s for h in world.hosts.values() for s in h.stored.shards if s.restart]
        assert IndexSet.union_of(s.ranges for s in restarted) == ALL


def test_drains_rollouts_and_orders_share_the_budget() -> None:
    world = world_of()
    drain(world, "h1")
    roll_out(world)
    give(world, Action.RESTART)
    play(world, 3, 120)
    assert not world.held("h1") and not world.orders
    assert world.rollouts[UID].state is RolloutState.DONE


@pytest.mark.parametrize("writes", [1, 2, 3, 4, 8])
def test_a_drain_that_never_ends_leaves_a_rollout_its_turns(writes: int) -> None:
    """Two hosts are drained in turn, so that there is always something to move. `writes`: so many
    revisions lie between two passes."""
    world = World([16] * 3)
    world.specs[UID, 1] = spec_with(1)
    world.scale(16)
    world.step()
    roll_out(world, at_most=1)
    for _ in range(400):
        for one, other in (("h0", "h1"), ("h1", "h0")):
            if not world.held(one) and not world.hosts[other].record.draining:
                world.set_record(one, draining=False)
                world.set_record(other, draining=True)
        if not any(host.record.draining for host in world.hosts.values()):
            drain(world, "h0")
        if world.rollouts[UID].state is RolloutState.DONE:
            break
        world.revision = -(-world.revision // writes) * writes
        decided = world.decide()
        assert len(down_after(world, decided)) <= 1
        world.write(decided)
        world.settle()
    assert world.rollouts[UID].state is RolloutState.DONE


def test_who_gives_way_takes_nothing_that_runs() -> None:
    world = world_of(at_most=2)
    world.failing = {3}
    budget = DisruptionBudget(world.view(), {}, {UID})
    assert budget.take(UID, ALL) == IndexSet.of([3])
    budget.next_asker()
    assert budget.take(UID, ALL) == IndexSet.of([0, 3])


def test_vms_that_are_down_by_themselves_use_the_budget() -> None:
    world = world_of(at_most=3)
    world.failing = {0, 1, 2}
    before = births(world)
    give(world, Action.REIMAGE, IndexSet.span(8, 16))
    decided = world.decide()
    world.write(decided)
    assert births(world) == before
    use = decided.budgets[UID]
    assert (use.down, use.failed, use.waiting) == (3, 3, 8)
    assert "3 of these have failed or cannot be heard" in use.why
    assert "--ignore-budget" in use.why


def test_what_is_down_by_itself_may_always_be_mended() -> None:
    world = world_of(at_most=1)
    world.failing = {0, 1, 2}
    before = births(world)
    give(world, Action.REIMAGE, IndexSet.of([0, 1, 2, 9]))
    world.write(world.decide())
    now = births(world)
    assert [i for i in ALL if now[i] != before[i]] == [0, 1, 2]


def test_a_rollout_mends_what_has_failed_wherever_it_stands_on_its_host() -> None:
    """It would change the lowest VMs of each host, of which the budget gives none."""
    world = World([16])
    world.specs[UID, 1] = spec_with(3)
    world.scale(16)
    world.step()
    world.failing = {12, 13, 14}
    roll_out(world, max_unavailable=2)
    before = births(world)
    world.step()
    assert {i for i, birth in births(world).items() if birth != before[i]} == {12, 13}
    world.failing = set()
    play(world, 3)
    assert world.rollouts[UID].state is RolloutState.DONE


def test_of_a_fleet_of_which_nothing_is_observed_nothing_is_free_prey() -> None:
    world = world_of()
    view = msgspec.structs.replace(world.view(), observed={})
    assert not DisruptionBudget(view, {}).take(UID, ALL)


def test_what_is_not_heard_is_no_free_prey() -> None:
    """It may run."""
    world = world_of(at_most=1)
    give(world, Action.REIMAGE)
    view = world.view()
    known = view.observed[UID]
    two = IndexSet.of([4, 5])
    unheard = msgspec.structs.replace(known, running=known.running - two, unknown=two)
    decided = decide(msgspec.structs.replace(view, observed={UID: unheard}), 250)
    assert not decided.assignments


def test_a_drain_that_ignores_the_budget_goes_on_beyond_it() -> None:
    world = world_of(at_most=1)
    drain(world, "h0", beyond=True)
    for _ in range(4):
        world.step()
    assert not world.held("h0")


def test_no_more_are_begun_anew_in_a_minute_than_allowed() -> None:
    world = world_of(at_most=8, per_minute=5)
    before = births(world)
    give(world, Action.REIMAGE)
    decided = world.step()
    assert decided.taken == {UID: 5}
    world.begun_anew = {UID: 5}
    assert not world.step().taken
    world.begun_anew = {UID: 3}
    assert world.step().taken == {UID: 2}
    changed = [i for i in ALL if births(world)[i] != before[i]]
    assert len(changed) == 7


def test_a_new_leader_takes_the_minute_for_full() -> None:
    world = world_of(at_most=8, per_minute=5)
    world.leader_is_new = True
    give(world, Action.REIMAGE)
    decided = world.decide()
    assert not decided.assignments
    assert "a new leader" in decided.budgets[UID].why


def test_what_is_restarting_is_down_though_it_is_said_to_run() -> None:
    world = world_of(at_most=3)
    give(world, Action.REIMAGE)
    view = world.view()
    told = msgspec.structs.replace(view.observed[UID], restarting=IndexSet.span(13, 16))
    decided = decide(msgspec.structs.replace(view, observed={UID: told}), 250)
    # The three use all of the budget: nothing that surely runs is taken.
    assert decided.budgets[UID].down == 3


def test_what_may_have_been_restarted_long_ago_is_no_free_prey() -> None:
    """A leader that is new has not heard yet, of VMs that run, that their restart is over."""
    world = world_of(at_most=3)
    give(world, Action.REIMAGE)
    view = world.view()
    told = msgspec.structs.replace(view.observed[UID], restarting=IndexSet.span(11, 16))
    decided = decide(msgspec.structs.replace(view, observed={UID: told}), 250)
    assert not decided.assignments


def test_an_order_given_again_goes_on_with_what_is_left_of_the_first() -> None:
    world = world_of()
    give(world, Action.REIMAGE, IndexSet.span(0, 8))
    world.step()
    again = VmOrder(IndexSet.span(12, 16), world.revision)
    world.orders[UID] = ordered(world.view(), world.fleet, Action.REIMAGE, again)
    both = world.orders[UID].reimage
    assert both is not None and both.indices == IndexSet([(3, 8), (12, 16)])


def test_an_order_of_a_fleet_that_is_gone_is_over() -> None:
    world = world_of()
    world.orders = {OTHER: OrdersRecord(OTHER, VmOrder(ALL, 5))}
    world.step()
    assert not world.orders


def test_a_fleet_without_a_budget_is_not_bounded() -> None:
    world = world_of()
    world.specs[UID, 1] = types.FleetSpec(memory_bytes=4 << 20)
    drain(world, "h0")
    world.step()
    decided = world.decide()
    world.write(decided)
    assert not decided.budgets
    assert not [s for s in world.hosts["h0"].stored.shards]
