"""Rollouts: in place, few at once, rack by rack, halted by failures, told truly."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.holdings import HeldImage, HostHoldings
from fleet_controller.core.model import Capacity, RolloutState
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.core.rollouts_and_drains.rollout_orders import (
    RolloutAction,
    RolloutOptions,
    start,
    turn,
    undo,
)
from tests.controller.rollouts_and_drains.moving_world import UID, World

HOSTS = 4
ME = "operator/me"


def world_of(total: int, memory: int = 4 << 20) -> World:
    """All of generation 1, and a second one to be rolled out."""
    world = World([8] * HOSTS)
    world.scale(total)
    world.step()
    world.specs[UID, 2] = types.FleetSpec(memory_bytes=memory, vcpus=2)
    return world


def begin(world: World, **wish: object) -> None:
    ordered = start(world.view(), world.fleet, RolloutOptions(**wish), ME, 5.0)  # type: ignore[arg-type]
    world.rollouts[UID], world.fleet = ordered.record, ordered.fleet
    world.revision += 1


def of_generation(world: World, generation: int) -> IndexSet:
    return IndexSet.union_of(
        shard.ranges
        for host in world.hosts.values()
        for shard in host.stored.shards
        if shard.generation == generation
    )


def state(world: World) -> RolloutState:
    return world.rollouts[UID].state


def order(world: World, action: str) -> None:
    view = world.view()
    ordered = (
        undo(view, world.fleet, ME, 6.0)
        if action == "undo"
        else turn(view, world.fleet, RolloutAction(action), ME)
    )
    world.rollouts[UID], world.fleet = ordered.record, ordered.fleet
    world.revision += 1


def test_vms_are_made_anew_where_they_are() -> None:
    world = world_of(16)
    before = {name: world.held(name) for name in world.hosts}
    births = {i: b for host in world.hosts.values() for i, b in host.exists.items()}
    begin(world, max_unavailable=16)
    for _ in range(3):
        world.step()
    assert state(world) is RolloutState.DONE
    assert of_generation(world, 2) == IndexSet.span(0, 16)
    assert {name: world.held(name) for name in world.hosts} == before
    after = {i: b for host in world.hosts.values() for i, b in host.exists.items()}
    assert all(after[i] > births[i] for i in births)


def test_no_more_are_down_at_once_than_allowed() -> None:
    world = world_of(16)
    begin(world, max_unavailable=3)
    for expected in (3, 6, 9, 12, 15, 16):
        world.write(world.decide())
        assert len(of_generation(world, 2)) == expected
        world.write(world.decide())
        assert len(of_generation(world, 2)) == expected, "none more before these run"
        world.settle()
    world.step()
    assert state(world) is RolloutState.DONE


def test_what_a_lost_host_ran_counts_as_down_once_it_is_placed_anew() -> None:
    world = world_of(16)
    for key, spec in world.specs.items():
        world.specs[key] = types.FleetSpec(
            memory_bytes=spec.memory_bytes, vcpus=spec.vcpus, on_loss=types.ON_LOSS_REPLACE
        )
    begin(world, max_unavailable=6)
    lost = world.held("h0")
    world.set_record("h0", lost=True)
    world.hosts["h0"].reachable = False
    world.write(world.decide())
    renewed = of_generation(world, 2)
    assert len(lost) == 4 and not lost - renewed, "placed anew, of the newest generation"
    assert len(renewed) == 6


def test_a_share_of_the_total_is_at_least_one() -> None:
    world = world_of(16)
    begin(world, max_unavailable_share=0.01)
    world.write(world.decide())
    assert len(of_generation(world, 2)) == 1


def test_one_value_of_a_label_after_another() -> None:
    world = world_of(16)
    begin(world, max_unavailable=100, by_label="rack")
    decided = world.decide()
    assert decided.progress[UID].wave == "rack=r0"
    world.write(decided)
    assert of_generation(world, 2) == world.held("h0") | world.held("h2")
    world.write(world.decide())
    assert len(of_generation(world, 2)) == 8, "the next rack waits until this one runs"
    world.settle()
    decided = world.decide()
    assert decided.progress[UID].wave == "rack=r1"
    world.write(decided)
    assert of_generation(world, 2) == IndexSet.span(0, 16)


def test_it_halts_by_itself_when_more_fail_than_the_share() -> None:
    world = world_of(16)
    world.failing = {0, 1}
    begin(world, max_unavailable=8, halt_share=0.2)
    world.step()
    world.step()
    record = world.rollouts[UID]
    assert record.state is RolloutState.HALTED
    assert record.why == "2 of 8 changed VMs failed, which is more than 20% of them"
    assert world.fleet.generation == 1, "further VMs are made of what is known to run"
    changed = of_generation(world, 2)
    for _ in range(3):
        world.step()
    assert of_generation(world, 2) == changed, "nothing more is changed"


def test_fewer_failures_than_the_share_count_as_unavailable_and_are_told() -> None:
    world = world_of(16)
    world.failing = {0}
    begin(world, max_unavailable=8, halt_share=0.2)
    for _ in range(4):
        decided = world.step()
    assert state(world) is RolloutState.RUNNING, "not done while one of them does not run"
    assert "1 changed VMs have failed" in decided.progress[UID].message
    assert decided.progress[UID].held_up
    assert of_generation(world, 2) == IndexSet.span(0, 16)
    world.failing = set()
    world.step()
    assert state(world) is RolloutState.DONE


def test_a_rollout_that_goes_on_beside_a_failure_is_not_held_up() -> None:
    world = world_of(16)
    world.failing = {0}
    begin(world, max_unavailable=5, halt_share=0.5)
    told = [world.step().progress[UID].held_up for _ in range(3)]
    assert len(of_generation(world, 2)) < 16
    assert told == [False] * 3


def test_a_halted_rollout_that_is_resumed_is_judged_anew() -> None:
    world = world_of(16)
    world.failing = {0, 1}
    begin(world, max_unavailable=8, halt_share=0.2)
    world.step()
    world.step()
    order(world, "resume")
    world.failing = set()
    for _ in range(4):
        world.step()
    assert state(world) is RolloutState.DONE and world.fleet.generation == 2


def test_pause_changes_nothing_more_and_resume_goes_on() -> None:
    world = world_of(16)
    begin(world, max_unavailable=4)
    world.step()
    order(world, "pause")
    for _ in range(3):
        world.step()
    assert len(of_generation(world, 2)) == 4
    order(world, "resume")
    for _ in range(5):
        world.step()
    assert state(world) is RolloutState.DONE


def test_abort_leaves_what_was_changed_and_makes_no_more_of_it() -> None:
    world = world_of(16)
    begin(world, max_unavailable=4)
    world.step()
    order(world, "abort")
    world.scale(20)
    for _ in range(3):
        world.step()
    assert len(of_generation(world, 2)) == 4
    assert IndexSet.span(16, 20).issubset(of_generation(world, 1))


def test_undo_goes_back_to_the_generation_before() -> None:
    world = world_of(16)
    begin(world, max_unavailable=4)
    world.step()
    order(world, "undo")
    for _ in range(3):
        world.step()
    assert state(world) is RolloutState.DONE
    assert of_generation(world, 1) == IndexSet.span(0, 16) and world.fleet.generation == 1


def test_hosts_running_an_older_generation_are_never_counted_as_done() -> None:
    world = world_of(16)
    world.hosts["h3"].reachable = False
    begin(world, max_unavailable=16)
    for _ in range(4):
        decided = world.step()
    assert state(world) is RolloutState.RUNNING
    assert decided.progress[UID].message == "4 VMs wait for hosts that cannot be reached"
    world.hosts["h3"].reachable = True
    for _ in range(2):
        world.step()
    assert state(world) is RolloutState.DONE


def test_a_host_is_never_filled_beyond_its_memory_by_a_larger_generation() -> None:
    world = world_of(16, memory=8 << 20)
    for name in world.hosts:
        world.set_record(name, capacity=Capacity(8, 20 << 20))  # 4 VMs of 4 MiB: one may grow
    begin(world, max_unavailable=16)
    for _ in range(4):
        decided = world.step()
    assert len(of_generation(world, 2)) == HOSTS
    assert "do not fit on their hosts" in decided.progress[UID].message


def test_vms_that_are_moving_are_changed_once_they_have_moved() -> None:
    world = world_of(8)
    world.set_record("h0", draining=True)
    world.write(world.decide())
    moving = world.held("h0")
    begin(world, max_unavailable=16)
    world.write(world.decide())
    assert of_generation(world, 2).isdisjoint(moving)
    for _ in range(8):
        world.step()
    assert state(world) is RolloutState.DONE
    assert of_generation(world, 2) == IndexSet.span(0, 8) and not world.held("h0")


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (RolloutOptions(generation=7), Reason.NO_SUCH_GENERATION),
        (RolloutOptions(generation=1), Reason.NOTHING_TO_CHANGE),
        (RolloutOptions(max_unavailable_share=1.5), Reason.BAD_QUERY),
        (RolloutOptions(halt_share=float("nan")), Reason.BAD_QUERY),
        (RolloutOptions(by_label="row"), Reason.BAD_QUERY),
    ],
)
def test_what_cannot_be_rolled_out_is_refused(wish: RolloutOptions, reason: Reason) -> None:
    world = world_of(4)
    with pytest.raises(Refused) as refusal:
        start(world.view(), world.fleet, wish, ME, 0.0)
    assert refusal.value.reason == reason


def test_one_at_a_time_and_nothing_that_makes_no_sense_in_its_state() -> None:
    world = world_of(4)
    with pytest.raises(Refused, match="no rollout of spv yet"):
        order(world, "pause")
    begin(world)
    with pytest.raises(Refused, match="a rollout of spv to generation 2 is running"):
        begin(world)
    with pytest.raises(Refused, match="is running: there is nothing to resume"):
        order(world, "resume")
    order(world, "abort")
    with pytest.raises(Refused, match="is aborted: there is nothing to pause"):
        order(world, "pause")


events = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(0, 2**HOSTS - 1)),
        st.tuples(st.sampled_from(["obey", "report", "drain", "undrain"]), st.integers(0, 3)),
        st.tuples(st.sampled_from(["pause", "resume", "undo"]), st.just(0)),
        st.tuples(st.just("scale"), st.integers(4, 20)),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(events)
def test_nothing_is_lost_and_no_more_than_allowed_are_down_for_it(
    happened: list[tuple[str, int]],
) -> None:
    world = world_of(12)
    begin(world, max_unavailable=3)
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
    for name in world.hosts:
        world.set_record(name, draining=False)
    if state(world) is RolloutState.PAUSED:
        order(world, "resume")
    for _ in range(20):
        world.step()
    assert state(world) is RolloutState.DONE
    assert of_generation(world, world.rollouts[UID].to_generation) == IndexSet.span(
        0, world.fleet.total
    )


def test_a_record_survives_the_store() -> None:
    world = world_of(4)
    begin(world, by_label="rack", max_unavailable=3)
    record = world.rollouts[UID]
    again = msgspec.json.decode(msgspec.json.encode(record), type=type(record))
    assert again == record


def test_vms_stay_as_they_are_where_their_hosts_lack_what_the_new_generation_needs() -> None:
    world = world_of(16)
    world.specs[UID, 2] = types.FleetSpec(
        memory_bytes=4 << 20, image=types.Image(name="golden", snapshot="2")
    )
    for name in ("h0", "h1"):
        host = world.hosts[name]
        lacking = HostHoldings(images=(HeldImage("golden", "1"),))
        host.record = msgspec.structs.replace(host.record, holdings=lacking)
    held = world.held("h0") | world.held("h1")
    begin(world, max_unavailable=16)
    for _ in range(3):
        decided = world.step()
    assert of_generation(world, 1) == held
    assert decided.progress[UID].message == "8 VMs wait: their hosts lack golden@2"
    for host in world.hosts.values():
        host.record = msgspec.structs.replace(host.record, holdings=HostHoldings())
    for _ in range(3):
        world.step()
    assert state(world) is RolloutState.DONE
