"""Rollouts by the real leader, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from fleet_controller.core.audit import BY_LEADER
from fleet_controller.core.rollouts_and_drains import canaries
from fleet_controller.core.rollouts_and_drains.rollout_orders import RolloutAction, RolloutOptions
from fleet_controller.queries import rollouts as rollout_queries
from fleet_controller.replica.leader import Leader
from tests.doubles import answers
from tests.doubles.leading import until
from tests.in_process.six_hosts import HOSTS, ME, Stage, converged, kinds, newer, play, told


def test_a_rollout_ends_with_all_vms_on_the_new_generation() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.fleets.apply("spv", newer(2), ME)
        wish = RolloutOptions(max_unavailable=3, by_label="rack")
        await leader.rollouts.start("spv", wish, ME, plan_only=False)
        fleet = leader.memory.state.fleets["spv"]
        fewest = 24
        while leader.memory.state.rollouts[fleet.uid].state == "running":
            fewest = min(fewest, len(stage.world.running))
            await asyncio.sleep(0.05)
        assert fewest >= 21
        status = answers.fleet_status(leader, fleet.name)
        assert [(g.generation, g.running) for g in status.generations] == [(2, 24)]
        assert (status.rollout.state, status.rollout.done, status.rollout.left) == ("done", 24, 0)
        assert kinds(leader)["rollout_done"] == 1

    play(scene)


def test_a_rollout_that_fails_halts_by_itself_and_is_undone() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        for number in range(HOSTS):
            stage.agent(f"h{number}").broken = {2}
        await leader.fleets.apply("spv", newer(2), ME)
        await leader.rollouts.start("spv", RolloutOptions(max_unavailable=4), ME, plan_only=False)
        fleet = leader.memory.state.fleets["spv"]
        await until(lambda: leader.memory.state.rollouts[fleet.uid].state == "halted")
        assert len(stage.world.running) == 20, "no more than were allowed"
        shown = rollout_queries.rollout_status(leader.memory, leader.planning, fleet)
        assert shown is not None and shown.failed == 4 and "4 of 4" in shown.message
        assert leader.memory.state.fleets["spv"].generation == 1
        await leader.rollouts.undo("spv", ME, plan_only=False)
        await until(lambda: leader.memory.state.rollouts[fleet.uid].state == "done")
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 24

    play(scene)


def test_a_leader_that_changes_in_the_middle_of_a_rollout_goes_on_with_it() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        await leader.fleets.apply("spv", newer(2), ME)
        await leader.rollouts.start("spv", RolloutOptions(max_unavailable=2), ME, plan_only=False)
        uid = leader.memory.state.fleets["spv"].uid
        vector = leader.memory.observed.vectors[uid]
        await until(lambda: 2 in vector.by_generation())

    async def second(leader: Leader, stage: Stage) -> None:
        uid = leader.memory.state.fleets["spv"].uid
        await until(lambda: leader.memory.state.rollouts[uid].state == "done")
        await until(lambda: converged(leader))

    play(first, second)


def test_a_deleted_fleet_takes_its_rollout_with_it() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.fleets.apply("spv", newer(2), ME)
        await leader.rollouts.start("spv", RolloutOptions(), ME, plan_only=False)
        await leader.fleets.delete("spv", ME)
        await until(lambda: "spv" not in leader.memory.state.fleets)
        entries = (await stage.store.read()).entries
        assert not [entry.key for entry in entries if entry.key.startswith("rollouts/")]

    play(scene)


def rollout_state(leader: Leader) -> str:
    return leader.memory.state.rollouts[leader.memory.state.fleets["spv"].uid].state


async def at_its_canaries(leader: Leader) -> None:
    """All of them are made and run."""
    await until(lambda: answers.fleet_status(leader, "spv").rollout.canaries_well == 6)


def test_canaries_wait_for_a_word_and_the_rest_follows_it() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.fleets.apply("spv", newer(2), ME)
        wish = RolloutOptions(max_unavailable=6, canary_share=0.25)
        await leader.rollouts.start("spv", wish, ME, plan_only=False)
        await at_its_canaries(leader)
        await until(lambda: answers.fleet_status(leader, "spv").rollout.awaits_word)
        await asyncio.sleep(300)
        shown = answers.fleet_status(leader, "spv").rollout
        assert (shown.state, shown.done, shown.left, shown.canaries) == ("canary", 6, 18, 6)
        assert shown.waiting_seconds > 300 and shown.further_generation == 1
        assert "they wait for 'fleetctl rollout promote spv'" in shown.message
        await leader.rollouts.turn("spv", RolloutAction.PROMOTE, ME, plan_only=False)
        await until(lambda: rollout_state(leader) == "done")
        assert kinds(leader)["rollout_promoted"] == 1

    play(scene)


def test_what_is_told_of_canaries_is_not_told_of_the_rollout_that_undoes_them() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.fleets.apply("spv", newer(2), ME)
        wish = RolloutOptions(max_unavailable=6, canary_share=0.25)
        await leader.rollouts.start("spv", wish, ME, plan_only=False)
        await at_its_canaries(leader)
        await leader.rollouts.undo("spv", ME, plan_only=False)
        shown = answers.fleet_status(leader, "spv").rollout
        assert (shown.to_generation, shown.state) == (1, "running")
        assert "promote" not in shown.message and shown.canaries_made == 0
        await until(lambda: rollout_state(leader) == "done")

    play(scene)


def test_canaries_that_have_run_for_their_time_promote_it() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.fleets.apply("spv", newer(2), ME)
        wish = RolloutOptions(max_unavailable=6, canaries=6, promote_after=600)
        await leader.rollouts.start("spv", wish, ME, plan_only=False)
        began = asyncio.get_running_loop().time()
        await until(lambda: rollout_state(leader) == "running", 1200)
        assert 600 <= asyncio.get_running_loop().time() - began < 700
        await until(lambda: rollout_state(leader) == "done")
        assert ("rollout_promoted", BY_LEADER) in [line[:2] for line in told(leader)]

    play(scene)


def test_the_next_leader_begins_to_count_anew() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        await leader.fleets.apply("spv", newer(2), ME)
        wish = RolloutOptions(max_unavailable=6, canaries=6, promote_after=600)
        await leader.rollouts.start("spv", wish, ME, plan_only=False)
        await asyncio.sleep(500)

    async def second(leader: Leader, stage: Stage) -> None:
        await asyncio.sleep(500)
        assert rollout_state(leader) == "canary"
        await until(lambda: rollout_state(leader) == "done", 400)

    play(first, second)


def test_a_host_that_was_not_heard_for_a_while_begins_anew_as_well() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.fleets.apply("spv", newer(2), ME)
        wish = RolloutOptions(max_unavailable=6, canaries=6, promote_after=600, halt_share=0.1)
        await leader.rollouts.start("spv", wish, ME, plan_only=False)
        await asyncio.sleep(500)
        stage.network.cut("h0:1")
        await until(lambda: not leader.memory.is_live("h0"))
        stage.network.mend()
        await until(lambda: leader.memory.is_live("h0"))
        await asyncio.sleep(400)
        assert rollout_state(leader) == "canary"
        await until(lambda: rollout_state(leader) == "done", 600)

    play(scene)


def test_canaries_that_fail_are_undone_by_themselves_where_that_was_asked_for() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        for number in range(HOSTS):
            stage.agent(f"h{number}").broken = {2}
        await leader.fleets.apply("spv", newer(2), ME)
        wish = RolloutOptions(max_unavailable=6, canaries=6, undo_on_halt=True)
        await leader.rollouts.start("spv", wish, ME, plan_only=False)
        await until(lambda: rollout_state(leader) == "done")
        await until(lambda: converged(leader))
        fleet = leader.memory.state.fleets["spv"]
        vector = leader.memory.observed.vectors[fleet.uid]
        assert fleet.generation == 1 and vector.by_generation() == {1: (24, 24)}
        assert ("rollout_undone", BY_LEADER) in [line[:2] for line in told(leader)]
        assert kinds(leader)["rollout_undone"] == 1

    play(scene)


def test_a_forgotten_canary_is_told_by_an_event_and_in_the_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(canaries, "FORGOTTEN_AFTER", 200.0)

    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.fleets.apply("spv", newer(2), ME)
        wish = RolloutOptions(max_unavailable=6, canaries=6)
        await leader.rollouts.start("spv", wish, ME, plan_only=False)
        await asyncio.sleep(190)
        assert not answers.fleet_status(leader, "spv").rollout.forgotten
        await asyncio.sleep(20)
        shown = answers.fleet_status(leader, "spv").rollout
        assert shown.forgotten and "have waited for 3 min" in shown.message
        assert kinds(leader)["rollout_forgotten"] == 1

    play(scene)


def test_what_is_held_stays_so_under_the_next_leader_too() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        await leader.fleets.apply("spv", newer(2), ME)
        wish = RolloutOptions(max_unavailable=6, canaries=6)
        await leader.rollouts.start("spv", wish, ME, plan_only=False)
        await at_its_canaries(leader)
        await leader.rollouts.turn("spv", RolloutAction.HOLD, ME, 2, plan_only=False)

    async def second(leader: Leader, stage: Stage) -> None:
        await leader.fleets.scale("spv", 30, ME)
        await until(lambda: converged(leader))
        vector = leader.memory.observed.vectors[leader.memory.state.fleets["spv"].uid]
        assert vector.by_generation() == {1: (18, 18), 2: (12, 12)}
        shown = answers.fleet_status(leader, "spv").rollout
        assert (shown.state, shown.further_generation) == ("held", 2)
        await leader.rollouts.back("spv", RolloutOptions(generation=1), ME, plan_only=False)
        await until(lambda: rollout_state(leader) == "done")
        assert vector.by_generation() == {1: (30, 30)}

    play(first, second)
