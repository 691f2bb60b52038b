"""Rebalances under the real leader, in virtual time: planned, begun, stopped, succeeded."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from fleet.v1 import types_pb2 as types
from fleet_controller.core.rebalance.model import rebalance_token
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.queries.rebalances import answer
from fleet_controller.replica.leader import Leader
from fleet_controller.store import keys
from fleet_controller.store.port import Put
from tests.doubles import answers
from tests.doubles.leading import until
from tests.doubles.obedient_agents import ObedientAgent
from tests.in_process.six_hosts import ME, PER_HOST, SPEC, Stage, converged, kinds, play, told


async def add_host(leader: Leader, stage: Stage, name: str) -> None:
    stage.network.agents[f"{name}:1"] = ObedientAgent(name, stage.world, Random(name))
    facts = types.HostFacts(
        incarnation="i", labels={"rack": "r0"}, capacity=types.Capacity(guests=PER_HOST)
    )
    await leader.announcements.announce(name, f"{name}:1", facts)
    await until(lambda: leader.memory.is_live(name))


def bounded(per_host: int) -> types.FleetSpec:
    spec = types.FleetSpec()
    spec.CopyFrom(SPEC)
    spec.placement.per_host = per_host
    return spec


def misplaced(leader: Leader) -> int:
    return answers.fleet_status(leader, "spv").misplaced


def assigned(leader: Leader, host: str) -> int:
    return sum(len(shard.ranges) for shard in leader.memory.state.assignment(host).shards)


async def over(leader: Leader) -> None:
    await until(lambda: not leader.memory.state.rebalances)
    await until(lambda: converged(leader))


def test_new_hosts_get_their_share_and_all_vms_run() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        for name in ("h6", "h7"):
            await add_host(leader, stage, name)
        plans = await leader.rebalances.plan("", False)
        message = answer(plans, 250)
        assert (message.vms, message.from_hosts, message.to_hosts) == (6, 6, 2)
        assert not leader.memory.state.rebalances, "a plan writes nothing"
        await leader.rebalances.begin("", False, message.token, ME)
        assert answers.fleet_status(leader, "spv").rebalance.planned == 6
        await over(leader)
        assert [assigned(leader, f"h{number}") for number in range(8)] == [3] * 8
        assert len(stage.world.running) == 24
        assert kinds(leader)["rebalance_started"] == kinds(leader)["rebalanced"] == 1
        assert ("rebalance", ME, "6 VMs to move") in told(leader, fleet="spv")
        again = answer(await leader.rebalances.begin("spv", False, "", ME), 250)
        assert not again.vms and not leader.memory.state.rebalances

    play(scene)


def test_what_stands_where_it_should_not_is_counted_and_moves() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await add_host(leader, stage, "h6")
        assert misplaced(leader) == 0
        await leader.fleets.apply("spv", bounded(3), ME)
        assert misplaced(leader) == 6
        (one,) = answer(await leader.rebalances.begin("spv", True, "", ME), 250).fleets
        assert (one.above_per_host, one.must, one.unplaced) == (6, 3, 3)
        await until(lambda: misplaced(leader) == 3)
        status = answers.fleet_status(leader, "spv").rebalance
        assert status.unplaced == 3 and "fit nowhere" in status.message
        await add_host(leader, stage, "h7")
        await over(leader)
        assert misplaced(leader) == 0

    play(scene)


def test_a_leader_that_changes_in_its_midst_goes_on_with_it() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        await add_host(leader, stage, "h6")
        await add_host(leader, stage, "h7")
        uid = leader.memory.state.fleets["spv"].uid
        await leader.rebalances.begin("spv", False, "", ME)
        await until(lambda: bool(leader.memory.observed.staging[uid]))

    async def second(leader: Leader, stage: Stage) -> None:
        assert leader.memory.state.rebalances
        await over(leader)
        assert [assigned(leader, f"h{number}") for number in range(8)] == [3] * 8

    play(first, second)


def test_one_that_is_stopped_leaves_nothing_prepared() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await add_host(leader, stage, "h6")
        uid = leader.memory.state.fleets["spv"].uid
        stage.agent("h6").holds_back = True
        await leader.rebalances.begin("spv", False, "", ME)
        await until(lambda: bool(leader.memory.observed.staging[uid]))
        assert await leader.rebalances.stop("", ME) == ["spv"]
        stage.agent("h6").holds_back = False
        await until(lambda: not leader.memory.observed.staging[uid])
        await until(lambda: converged(leader))
        assert kinds(leader)["rebalance_stopped"] == 1
        assert await leader.rebalances.stop("", ME) == []
        with pytest.raises(Refused, match="is not being rebalanced") as refused:
            await leader.rebalances.stop("spv", ME)
        assert refused.value.reason is Reason.NOTHING_TO_CHANGE

    play(scene)


def test_a_plan_that_is_stale_is_refused() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await add_host(leader, stage, "h6")
        token = rebalance_token(await leader.rebalances.plan("spv", False))
        await leader.fleets.scale("spv", 30, ME)
        await until(lambda: converged(leader))
        with pytest.raises(Refused) as refused:
            await leader.rebalances.begin("spv", False, token, ME)
        assert refused.value.reason is Reason.STALE_PLAN
        assert not leader.memory.state.rebalances

    play(scene)


def test_a_fleet_that_is_deleted_takes_its_rebalance_along() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.fleets.apply("spv", bounded(3), ME)
        await leader.rebalances.begin("spv", False, "", ME)
        assert leader.memory.state.rebalances
        await leader.fleets.delete("spv", ME)
        await until(lambda: "spv" not in leader.memory.state.fleets)
        assert not leader.memory.state.rebalances

    play(scene)


def test_a_record_that_nobody_understands_moves_nothing_and_is_not_written_over() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        uid = leader.memory.state.fleets["spv"].uid
        await stage.store.txn([], [Put(keys.rebalance(uid), b"{")])

    async def second(leader: Leader, stage: Stage) -> None:
        await until(lambda: leader.planner.plans_freely)
        await until(lambda: converged(leader))
        await add_host(leader, stage, "h6")
        await asyncio.sleep(5)
        assert not assigned(leader, "h6")
        with pytest.raises(Refused) as refused:
            await leader.rebalances.begin("spv", False, "", ME)
        assert refused.value.reason is Reason.BROKEN_RECORD

    play(first, second)
