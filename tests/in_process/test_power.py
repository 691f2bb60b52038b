"""VMs that are stopped, started, restarted and retried by the real leader, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from fleet.ranges import IndexSet
from fleet.wire_ranges import from_wire
from fleet_controller.changes.vms import Chosen
from fleet_controller.core.model import Health
from fleet_controller.core.refusals import Refused
from fleet_controller.core.rollouts_and_drains.control import Action
from fleet_controller.core.vm_states import FAILED
from fleet_controller.replica.leader import Leader
from tests.doubles import answers
from tests.doubles.leading import until
from tests.in_process.six_hosts import (
    HOSTS,
    ME,
    REPLACED,
    Stage,
    come_back,
    converged,
    do,
    left,
    lose,
    play,
)


def test_a_host_whose_vms_are_stopped_is_not_forgotten_with_them() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.vms.control(
            Chosen("spv", host="h0"), Action.STOP, ME, plan_only=False, token=""
        )
        stage.network.cut("h0:1")
        await until(lambda: leader.memory.links.by_health[Health.LIVE] == HOSTS - 1)
        with pytest.raises(Refused, match="4 VMs of h0 are stopped"):
            await leader.hosts.remove("h0", True, ME)

    play(scene)


def test_stopped_vms_of_a_lost_host_are_placed_off_and_stay_off() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        await leader.vms.control(
            Chosen("spv", host="h0"), Action.STOP, ME, plan_only=False, token=""
        )
        await until(lambda: len(stage.world.running) == 20)
        await lose(leader, stage, "h0")
        await until(lambda: answers.host_summary(leader, "h0").assigned == 0)
        await until(lambda: converged(leader))
        status = answers.fleet_status(leader, "spv")
        assert (status.placed, status.powered_off, len(stage.world.running)) == (24, 4, 20)

    async def second(leader: Leader, stage: Stage) -> None:
        await come_back(leader, stage)
        await until(lambda: converged(leader))
        await asyncio.sleep(10)
        assert len(stage.world.running) == 20
        assert await do(leader, Action.START, "0-23") == 4
        await until(lambda: len(stage.world.running) == 24)

    play(first, second, spec=REPLACED)


def test_what_is_stopped_counts_as_converged_and_stays_off_over_leaders() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        assert await do(leader, Action.STOP, "0-9") == 10
        await until(lambda: len(stage.world.running) == 14)
        await until(lambda: converged(leader))
        status = answers.fleet_status(leader, "spv")
        assert (status.powered_off, status.placed, status.unplaced) == (10, 24, 0)

    async def second(leader: Leader, stage: Stage) -> None:
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 14
        await leader.fleets.scale("spv", 30, ME)
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 20
        await leader.hosts.drain("h0", ME)
        await until(lambda: left(leader, "h0") == 0)
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 20
        assert await do(leader, Action.START, "0-29") == 10
        await until(lambda: len(stage.world.running) == 30)
        await until(lambda: converged(leader))
        status = answers.fleet_status(leader, "spv")
        assert status.powered_off == 0

    play(first, second)


def test_a_retry_reaches_the_agents_of_those_that_have_failed_and_nobody_else() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        uid = leader.memory.state.fleets["spv"].uid
        vector = leader.memory.observed.vectors[uid]
        h0 = leader.memory.observed.host("h0").number
        held = vector.held(h0, IndexSet.span(0, 24))
        vector.set_state(h0, held.lowest(2), FAILED)
        assert await do(leader, Action.RETRY, "0-23") == 2
        await until(lambda: any(shard.retry for shard in stage.agent("h0").told.shards))
        told = [shard for shard in stage.agent("h0").told.shards if shard.retry]
        assert IndexSet.union_of(from_wire(shard.ranges) for shard in told) == held.lowest(2)
        assert not any(
            shard.retry for n in range(1, HOSTS) for shard in stage.agent(f"h{n}").told.shards
        )

    play(scene)


def test_a_restart_reaches_the_agents_of_those_meant() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        assert await do(leader, Action.RESTART, "0-3") == 4

        def restarted() -> set[int]:
            return {
                vm[1] for n in range(HOSTS)
                for vm, value in stage.agent(f"h{n}").restarts.items() if value
            }  # fmt: skip

        await until(lambda: restarted() == {0, 1, 2, 3})
        await until(lambda: converged(leader))

    play(scene)
