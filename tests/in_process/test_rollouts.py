"""Rollouts by the real leader, in virtual time."""

from __future__ import annotations

import asyncio

from fleet_controller.core.rollouts_and_drains.rollout_orders import RolloutOptions
from fleet_controller.queries import rollouts as rollout_queries
from fleet_controller.replica.leader import Leader
from tests.doubles import answers
from tests.doubles.leading import until
from tests.in_process.six_hosts import HOSTS, ME, Stage, converged, kinds, newer, play


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
