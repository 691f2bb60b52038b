"""A fleet's settings changed by the real leader in virtual time: no generation, no VM touched."""

from __future__ import annotations

import pytest

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.core.fleet_plans.plans import plan_fleets
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.core.rollouts_and_drains.rollout_orders import RolloutAction, RolloutOptions
from fleet_controller.queries import fleet_plans
from fleet_controller.replica.leader import Leader
from tests.doubles.leading import until
from tests.in_process.six_hosts import (
    HOSTS,
    ME,
    REPLACED,
    SPEC,
    Stage,
    converged,
    kinds,
    newer,
    play,
    told,
)


def roomy(per_host: int) -> types.FleetSpec:
    spec = types.FleetSpec()
    spec.CopyFrom(REPLACED)
    spec.placement.per_host = per_host
    spec.admission.parallel = 7
    return spec


def all_know(stage: Stage, spec: types.FleetSpec) -> bool:
    agents = [stage.agent(f"h{number}") for number in range(HOSTS)]
    return all(one.spec == spec for agent in agents for one in agent.told.specs)


def test_all_hosts_are_told_of_other_settings_and_no_vm_is_touched() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        running = dict(stage.world.running)
        births = {f"h{n}": dict(stage.agent(f"h{n}").births) for n in range(HOSTS)}
        await leader.fleets.apply("spv", roomy(5), ME)
        await until(lambda: all_know(stage, roomy(5)))
        await until(lambda: converged(leader) and not leader.memory.links.declining)
        assert leader.memory.state.fleets["spv"].generation == 1
        assert stage.world.running == running
        assert {host: stage.agent(host).births for host in births} == births
        what = "generation 1; admission.parallel, placement.per_host, on_loss"
        assert told(leader)[-1] == ("apply", ME, what)
        epochs = [stage.agent(f"h{n}").epoch for n in range(HOSTS)]
        await leader.fleets.apply("spv", roomy(5), ME)
        await leader.hosts.cordon("h0", True, ME)
        await until(lambda: kinds(leader)["host_cordoned"] == 1)
        assert [stage.agent(f"h{n}").epoch for n in range(HOSTS)] == epochs, "told once"

    play(scene)


def test_hosts_that_were_away_are_told_of_settings_when_they_are_back() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        away = stage.agent("h3")
        stage.network.cut("h3:1")
        await until(lambda: not leader.memory.is_live("h3"))
        await leader.fleets.apply("spv", roomy(5), ME)
        await until(lambda: all(one.spec == roomy(5) for one in stage.agent("h2").told.specs))
        assert all(one.spec == SPEC for one in away.told.specs)
        stage.network.mend()
        await until(lambda: all_know(stage, roomy(5)))

    play(scene)


def test_the_next_leader_tells_those_whom_the_last_one_has_not() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        await leader.fleets.apply("spv", roomy(5), ME)

    async def second(leader: Leader, stage: Stage) -> None:
        await until(lambda: all_know(stage, roomy(5)))
        assert leader.memory.state.fleets["spv"].generation == 1

    play(first, second)


def test_a_smaller_bound_moves_nothing_and_the_plan_counts_what_is_beyond_it() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        spec = roomy(3)
        request = cluster.PlanFleetsRequest()
        request.fleets.add(name="spv", spec=spec)
        known = fleet_plans.known(leader.memory, request)
        (plan,) = plan_fleets(known, [("spv", spec)], prune=False).fleets
        assert (plan.from_generation, plan.generation, plan.misplaced) == (1, 1, 6)
        running = dict(stage.world.running)
        await leader.fleets.apply("spv", spec, ME, token=plan.token)
        await until(lambda: all_know(stage, spec))
        assert stage.world.running == running
        with pytest.raises(Refused, match="look at a new one") as refusal:
            await leader.fleets.apply("spv", newer(2), ME, token=plan.token)
        assert refusal.value.reason is Reason.STALE_PLAN

    play(scene)


def test_a_template_it_had_before_is_that_generation_and_a_rollout_goes_there() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.fleets.apply("spv", newer(2), ME)
        await leader.fleets.apply("spv", newer(3), ME)
        assert leader.memory.state.fleets["spv"].generation == 3
        done = await leader.fleets.apply("spv", newer(2), ME)
        assert done.returned and leader.memory.state.fleets["spv"].generation == 2
        await leader.rollouts.start("spv", RolloutOptions(max_unavailable=8), ME, plan_only=False)
        uid = leader.memory.state.fleets["spv"].uid
        assert leader.memory.state.rollouts[uid].to_generation == 2
        await until(lambda: leader.memory.state.rollouts[uid].state == "done")
        listed = fleet_plans.generations(leader.memory, "spv").generations
        assert [(one.generation, one.current, one.running) for one in listed] == [
            (3, False, 0), (2, True, 24), (1, False, 0)
        ]  # fmt: skip
        assert [(f.field, f.before, f.after) for f in listed[0].fields] == [("vcpus", "2", "3")]

    play(scene)


def test_the_file_of_before_after_a_rollout_that_was_ended_is_where_the_next_one_goes() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.fleets.apply("spv", newer(2), ME)
        await leader.rollouts.start("spv", RolloutOptions(max_unavailable=1), ME, plan_only=False)
        uid = leader.memory.state.fleets["spv"].uid
        vector = leader.memory.observed.vectors[uid]
        await until(lambda: 2 in vector.by_generation())
        await leader.rollouts.turn("spv", RolloutAction.ABORT, ME, plan_only=False)
        applied = kinds(leader)["fleet_applied"]
        done = await leader.fleets.apply("spv", SPEC, ME)
        assert not (done.changed or done.settings) and done.fleet.generation == 1
        assert kinds(leader)["fleet_applied"] == applied, "nothing to tell"
        await leader.rollouts.start("spv", RolloutOptions(max_unavailable=9), ME, plan_only=False)
        assert leader.memory.state.rollouts[uid].to_generation == 1
        await until(lambda: leader.memory.state.rollouts[uid].state == "done")

    play(scene)
