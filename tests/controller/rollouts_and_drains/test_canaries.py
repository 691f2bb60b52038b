"""Canaries first: how many, on which hosts, and when the rest follows them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Assignment, FleetRecord, RolloutRecord, RolloutState
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.core.rollouts_and_drains.canaries import FORGOTTEN_AFTER, most_canaries
from fleet_controller.core.rollouts_and_drains.rollout import happened
from fleet_controller.core.rollouts_and_drains.rollout_orders import RolloutOptions, start
from fleet_controller.store.codec import decode, encode
from tests.controller.rollouts_and_drains.canary_world import (
    ALL,
    HOSTS,
    ME,
    begin,
    of_generation,
    order,
    said,
    state,
    steps,
    world_of,
)
from tests.controller.rollouts_and_drains.moving_world import UID, World


def test_a_canary_share_is_changed_first_and_nothing_more_before_it_is_promoted() -> None:
    world = world_of()
    begin(world, canary_share=0.25)
    decided = steps(world)
    assert state(world) is RolloutState.CANARY and len(of_generation(world, 2)) == 4
    assert said(decided) == "4 of 4 canaries run; they wait for 'fleetctl rollout promote spv'"
    order(world, "promote")
    steps(world)
    assert state(world) is RolloutState.DONE and of_generation(world, 2) == ALL
    assert world.fleet.generation == 2


def test_canaries_are_on_as_many_hosts_as_can_be() -> None:
    world = world_of()
    begin(world, canaries=4)
    steps(world)
    assert [len(world.held(f"h{n}") & of_generation(world, 2)) for n in range(HOSTS)] == [1] * 4


def test_no_more_canaries_are_down_at_once_than_may_be() -> None:
    world = world_of()
    begin(world, canaries=6, max_unavailable=2)
    for expected in (2, 4, 6, 6):
        world.step()
        assert len(of_generation(world, 2)) == expected


def test_canaries_of_waves_are_in_the_first_wave() -> None:
    world = world_of()
    begin(world, canaries=2, by_label="rack")
    steps(world)
    in_first = world.held("h0") | world.held("h2")
    assert len(of_generation(world, 2)) == 2 and of_generation(world, 2).issubset(in_first)


@pytest.mark.parametrize(
    ("wish", "total", "expected"),
    [
        ({"canary_share": 0.01}, 16, 1),
        ({"canary_share": 0.5}, 16, 8),
        ({"canaries": 5}, 16, 5),
        ({"canaries": 50}, 16, 16),
        ({"canaries": 5}, 0, 0),
    ],
)
def test_how_many_canaries_there_are(wish: dict[str, float], total: int, expected: int) -> None:
    record = RolloutRecord(UID, 1, 2, 5, **wish)  # type: ignore[arg-type]
    assert most_canaries(record, total) == expected


def test_it_is_promoted_by_itself_once_its_canaries_have_run_for_long_enough() -> None:
    world = world_of()
    world.unsteady = set(ALL)
    begin(world, canaries=4, promote_after=600)
    decided = steps(world)
    assert state(world) is RolloutState.CANARY
    assert said(decided) == (
        "0 of 4 canaries have run for 10 min without a break; it is promoted once 4 have"
    )
    assert decided.look_again == 30.0, "nobody wakes the planner when time goes by"
    world.unsteady = set()
    decided = world.step()
    assert state(world) is RolloutState.RUNNING and world.fleet.generation == 2
    (record,) = decided.rollouts
    assert happened(RolloutRecord(UID, 1, 2, 5, RolloutState.CANARY), record) == (
        "rollout_promoted", "is promoted by itself: its canaries are well",
    )  # fmt: skip
    steps(world)
    assert state(world) is RolloutState.DONE and of_generation(world, 2) == ALL


def test_one_that_restarts_again_and_again_keeps_it_from_being_promoted() -> None:
    world = world_of()
    begin(world, canaries=4, promote_after=600, halt_share=0.2)
    world.unsteady = set(ALL)
    steps(world)
    (first, *_) = of_generation(world, 2)
    world.unsteady = {first}
    steps(world)
    assert state(world) is RolloutState.CANARY, "1 of 4 is more than a fifth"


def test_as_many_as_the_halt_share_may_not_be_well() -> None:
    world = world_of()
    begin(world, canaries=8, promote_after=600, halt_share=0.25)
    world.unsteady = set(ALL)
    steps(world)
    first, second, *_ = of_generation(world, 2)
    world.unsteady = {first, second}
    world.step()
    assert state(world) is RolloutState.RUNNING


def test_canaries_that_nobody_hears_are_not_well() -> None:
    world = world_of()
    begin(world, canaries=4, promote_after=600)
    world.unsteady = set(ALL)
    steps(world)
    world.hosts["h0"].reachable = False
    world.unsteady = set(world.held("h0"))  # what does not run as far as is known is not steady
    steps(world)
    assert state(world) is RolloutState.CANARY


def test_canaries_are_made_of_what_runs_and_none_that_was_stopped_makes_it_well() -> None:
    world = world_of()
    for name in ("h0", "h1"):
        host = world.hosts[name]
        host.stored = off(host.stored)
    world.settle()
    begin(world, canaries=4, promote_after=600)
    world.unsteady = set(ALL)
    steps(world)
    stopped = world.held("h0") | world.held("h1")
    assert of_generation(world, 2).isdisjoint(stopped) and len(of_generation(world, 2)) == 4
    world.hosts["h2"].stored = off(world.hosts["h2"].stored)
    world.settle()
    world.unsteady = set()
    steps(world)
    assert state(world) is RolloutState.CANARY, "half of its canaries were stopped"


def off(assignment: Assignment) -> Assignment:
    shards = tuple(msgspec.structs.replace(one, power=False) for one in assignment.shards)
    return msgspec.structs.replace(assignment, shards=shards)


def test_further_vms_are_made_as_before_until_it_is_promoted() -> None:
    world = world_of()
    world.fleet = apply(world, 2)
    begin(world, canaries=4)
    assert world.fleet.generation == 1
    steps(world)
    world.scale(24)
    steps(world)
    assert IndexSet.span(16, 24).issubset(of_generation(world, 1))
    order(world, "promote")
    world.scale(26)
    steps(world)
    assert of_generation(world, 2) == IndexSet.span(0, 26)


def apply(world: World, generation: int) -> FleetRecord:
    return msgspec.structs.replace(world.fleet, generation=generation)


def test_a_smaller_total_has_fewer_canaries_and_never_more_than_their_share() -> None:
    world = world_of()
    begin(world, canary_share=0.5)
    steps(world)
    world.scale(4)
    steps(world)
    assert of_generation(world, 2).issubset(IndexSet.span(0, 4))
    world.scale(0)
    decided = steps(world)
    assert state(world) is RolloutState.CANARY and decided.progress[UID].canaries is not None


def test_the_canaries_of_a_lost_host_are_made_anew_elsewhere() -> None:
    world = world_of()
    for key, spec in list(world.specs.items()):
        replaced = types.FleetSpec()
        replaced.CopyFrom(spec)
        replaced.on_loss = types.ON_LOSS_REPLACE
        world.specs[key] = replaced
    begin(world, canaries=4)
    steps(world)
    world.set_record("h0", lost=True)
    world.hosts["h0"].reachable = False
    steps(world)
    on_live = IndexSet.union_of(world.held(f"h{n}") for n in (1, 2, 3))
    assert len(of_generation(world, 2) & on_live) == 4


def test_the_canaries_of_a_drained_host_stay_what_they_are() -> None:
    world = world_of()
    begin(world, canaries=4)
    steps(world)
    canaries = of_generation(world, 2)
    world.set_record("h0", draining=True)
    steps(world, 10)
    assert not world.held("h0") and of_generation(world, 2) == canaries


def test_a_forgotten_canary_is_told_once() -> None:
    world = world_of()
    begin(world, canaries=4)
    world.now = FORGOTTEN_AFTER - 1
    steps(world)
    assert not world.rollouts[UID].forgotten
    world.now = FORGOTTEN_AFTER + 3 * 3600
    decided = world.step()
    (record,) = decided.rollouts
    assert record.forgotten and record.state is RolloutState.CANARY
    assert happened(RolloutRecord(UID, 1, 2, 5, RolloutState.CANARY), record)[0] == (
        "rollout_forgotten"
    )
    decided = world.step()
    assert not decided.rollouts
    assert "they have waited for 27 h: promote it, hold it, or undo it" in said(decided)
    order(world, "promote")
    assert not world.rollouts[UID].forgotten


@pytest.mark.parametrize(
    "wish",
    [
        RolloutOptions(canary_share=1.5),
        RolloutOptions(canary_share=float("nan")),
        RolloutOptions(promote_after=60),
        RolloutOptions(canaries=1, promote_after=31 * 86400),
    ],
)
def test_canaries_that_make_no_sense_are_refused(wish: RolloutOptions) -> None:
    world = world_of()
    with pytest.raises(Refused) as refusal:
        start(world.view(), world.fleet, wish, ME, 0.0)
    assert refusal.value.reason is Reason.BAD_QUERY


def test_an_older_controller_cannot_take_it_for_one_that_may_change_all() -> None:
    world = world_of()
    begin(world, canaries=4, promote_after=60)
    record = world.rollouts[UID]
    assert b'"state":"canary"' in encode(record), "a state that it does not know"
    assert decode(RolloutRecord, "rollouts/x", encode(record)) == record


happenings = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(0, 2**HOSTS - 1)),
        st.tuples(st.sampled_from(["obey", "report", "drain", "undrain"]), st.integers(0, 3)),
        st.tuples(st.sampled_from(["pause", "resume", "hold", "abort"]), st.just(0)),
        st.tuples(st.just("scale"), st.integers(4, 20)),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(happenings)
def test_never_more_than_the_canaries_are_changed_before_somebody_promotes_it(
    happened: list[tuple[str, int]],
) -> None:
    world = world_of(12)
    begin(world, canaries=3)
    for what, which in happened:
        match what:
            case "pass":
                landing = [f"h{n}" for n in range(HOSTS) if which >> n & 1]
                world.write(world.decide(most=4), landing)
            case "obey":
                world.hosts[f"h{which}"].obey()
            case "report":
                world.hosts[f"h{which}"].report()
            case "drain" | "undrain":
                world.set_record(f"h{which}", draining=what == "drain")
            case "scale":
                world.scale(which)
            case _:
                try:
                    order(world, what)
                except Refused:
                    continue
        world.check()
        assert len(of_generation(world, 2)) <= 3
    for name in world.hosts:
        world.set_record(name, draining=False)
    order(world, "undo")
    steps(world, 20)
    assert state(world) is RolloutState.DONE
    assert of_generation(world, 1) == IndexSet.span(0, world.fleet.total)
