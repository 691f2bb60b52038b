"""A rollout that halts, is held, undone, or taken back."""

from __future__ import annotations

import pytest

from fleet.ranges import IndexSet
from fleet_controller.core.model import RolloutRecord, RolloutState
from fleet_controller.core.passes import is_at_rest
from fleet_controller.core.refusals import Refused
from fleet_controller.core.rollouts_and_drains.rollout import happened
from fleet_controller.core.rollouts_and_drains.rollout_orders import RolloutOptions, start
from tests.controller.rollouts_and_drains.canary_world import (
    ALL,
    ME,
    begin,
    of_generation,
    order,
    state,
    steps,
    world_of,
)
from tests.controller.rollouts_and_drains.moving_world import UID


def test_canaries_that_fail_halt_it_as_ever() -> None:
    world = world_of()
    world.failing = set(ALL)
    begin(world, canaries=4)
    steps(world)
    assert state(world) is RolloutState.HALTED and len(of_generation(world, 2)) == 4
    world.failing = set()
    order(world, "resume")
    assert state(world) is RolloutState.CANARY, "it is still to be promoted"
    steps(world)
    assert len(of_generation(world, 2)) == 4


@pytest.mark.parametrize("wish", [{}, {"canaries": 4, "promote_after": 60}])
def test_where_it_would_halt_it_is_undone_by_itself_if_that_was_asked_for(
    wish: dict[str, object],
) -> None:
    world = world_of()
    world.failing = set(ALL)
    begin(world, **{"max_unavailable": 4, "undo_on_halt": True, **wish})
    world.step()
    world.now = 70.0
    decided = world.step()
    record = world.rollouts[UID]
    assert (record.state, record.from_generation, record.to_generation) == ("running", 2, 1)
    assert (record.since_unix, record.needs_promotion, record.undo_on_halt) == (70.0, False, False)
    kind, words = happened(RolloutRecord(UID, 1, 2, 5), decided.rollouts[0])
    assert kind == "rollout_undone"
    assert words == (
        "is undone by itself: 4 of 4 changed VMs failed, which is more than 20% of them"
    )
    assert world.fleet.generation == 1
    world.failing = set()
    steps(world)
    assert state(world) is RolloutState.DONE and of_generation(world, 1) == ALL


def test_an_undo_that_fails_as_well_halts_and_goes_to_and_fro_no_more() -> None:
    world = world_of()
    world.failing = set(ALL)
    begin(world, max_unavailable=4, undo_on_halt=True)
    steps(world)
    assert state(world) is RolloutState.HALTED and world.rollouts[UID].to_generation == 1


def test_both_generations_stay_side_by_side_while_it_is_held() -> None:
    world = world_of()
    begin(world, canary_share=0.5)
    steps(world)
    order(world, "hold")
    decided = steps(world)
    assert state(world) is RolloutState.HELD and len(of_generation(world, 2)) == 8
    assert is_at_rest(world.view(), decided)
    world.scale(18)
    steps(world)
    assert of_generation(world, 1).last == 17, "as before the canaries"


def test_further_vms_get_the_generation_that_was_stated_for_a_hold() -> None:
    world = world_of()
    begin(world, canary_share=0.5)
    steps(world)
    order(world, "hold", 2)
    world.scale(20)
    steps(world)
    assert IndexSet.span(16, 20).issubset(of_generation(world, 2))
    order(world, "hold", 1)
    world.scale(24)
    steps(world)
    assert IndexSet.span(20, 24).issubset(of_generation(world, 1))
    with pytest.raises(Refused, match="has no generation 9; the newest is 3"):
        order(world, "hold", 9)


@pytest.mark.parametrize(
    ("action", "generation", "ends"),
    [("promote", 2, "done"), ("undo", 1, "done"), ("resume", 0, "canary"), ("abort", 0, "aborted")],
)
def test_a_hold_ends_by_a_word(action: str, generation: int, ends: str) -> None:
    world = world_of()
    begin(world, canary_share=0.5)
    steps(world)
    order(world, "hold")
    order(world, action)
    steps(world)
    assert state(world) == ends
    assert not generation or of_generation(world, generation) == ALL


def test_a_rollout_is_taken_back_to_any_generation_that_is_kept_whatever_is_under_way() -> None:
    world = world_of()
    begin(world)
    steps(world)
    begin(world, generation=3, canaries=4)
    steps(world)
    order(world, "back", 1)
    assert world.fleet.generation == 1
    steps(world)
    assert state(world) is RolloutState.DONE and of_generation(world, 1) == ALL
    with pytest.raises(Refused, match="all VMs of spv have generation 1 already"):
        order(world, "back", 1)
    with pytest.raises(Refused, match="has no generation 7"):
        order(world, "back", 7)
    with pytest.raises(Refused, match="--to N"):
        order(world, "back", 0)


def test_one_that_has_changed_nothing_yet_can_be_taken_back_too() -> None:
    world = world_of()
    begin(world)
    order(world, "back", 1)
    steps(world)
    assert state(world) is RolloutState.DONE and of_generation(world, 1) == ALL


def test_what_makes_no_sense_in_its_state_is_refused() -> None:
    world = world_of()
    begin(world)
    with pytest.raises(Refused, match="is running: there is nothing to promote"):
        order(world, "promote")
    order(world, "undo")
    begin_again = RolloutOptions(generation=3, canaries=4)
    with pytest.raises(Refused, match="resume, promote, abort or undo it first"):
        start(world.view(), world.fleet, begin_again, ME, 0.0)
    steps(world)
    with pytest.raises(Refused, match="there is nothing to hold"):
        order(world, "hold")
    begin(world, generation=3, canaries=4)
    with pytest.raises(Refused, match="is at its canaries: there is nothing to resume"):
        order(world, "resume")
