"""Drains and removals of hosts that are dead or lost, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Health
from fleet_controller.core.refusals import Refused
from fleet_controller.replica.leader import Leader
from tests.doubles import answers
from tests.doubles.leading import until
from tests.in_process.six_hosts import (
    HOSTS,
    ME,
    PER_HOST,
    REPLACED,
    Stage,
    come_back,
    converged,
    left,
    lose,
    play,
)


def test_a_dead_host_is_removed_by_force_and_lets_go_when_it_comes_back() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        with pytest.raises(Refused, match="drain it first"):
            await leader.hosts.remove("h0", False, ME)
        with pytest.raises(Refused, match="h0 answers"):
            await leader.hosts.remove("h0", True, ME)
        dead = stage.agent("h0")
        stage.network.cut("h0:1")
        for vm in [vm for vm, host in stage.world.running.items() if host == "h0"]:
            stage.world.stop(vm, "h0")  # its power is off
            del dead.restarts[vm]
        await until(lambda: leader.memory.links.by_health[Health.LIVE] == HOSTS - 1)
        assert await leader.hosts.remove("h0", True, ME) == 4
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 24
        stage.network.mend()
        facts = types.HostFacts(incarnation="i", capacity=types.Capacity(guests=PER_HOST))
        await leader.announcements.announce("h0", "h0:1", facts)
        await until(lambda: not dead.births)
        await until(lambda: converged(leader))

    play(scene)


def test_only_a_lost_host_is_drained_by_force() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        with pytest.raises(Refused, match="h0 is not declared lost"):
            await leader.hosts.give_up("h0", ME)

    play(scene)


def test_a_lost_host_is_drained_by_force_and_lets_go_when_it_is_back() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await lose(leader, stage, "h0")
        with pytest.raises(Refused, match="h0 is declared lost"):
            await leader.hosts.drain("h0", ME)
        await asyncio.sleep(5)
        assert left(leader, "h0") == 4, "its fleet waits for it"
        await leader.hosts.give_up("h0", ME)
        assert left(leader, "h0") == 0, "what it has to let go holds nobody up"
        await until(lambda: converged(leader))
        status = answers.fleet_status(leader, "spv")
        assert (status.duplicates, status.on_lost_hosts, status.releasing) == (4, 0, 0)
        assert len(stage.world.running) == 24
        with pytest.raises(Refused, match="has not yet let go of 4 VMs"):
            await leader.hosts.remove("h0", False, ME)
        await come_back(leader, stage)
        await until(lambda: not leader.planning.duplicates)
        assert converged(leader) and not stage.agent("h0").births
        assert leader.memory.state.hosts["h0"].draining
        assert await leader.hosts.remove("h0", False, ME) == 0

    play(scene)


def test_a_draining_host_that_is_declared_lost_in_the_middle_is_succeeded_at_once() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        stage.agent("h0").holds_back = True  # it never says what it has let go
        uid = leader.memory.state.fleets["spv"].uid
        await leader.hosts.drain("h0", ME)
        await until(lambda: bool(leader.memory.observed.staging[uid]))
        await lose(leader, stage, "h0")
        await until(lambda: converged(leader))
        assert left(leader, "h0") == 0
        assert not any(leader.memory.observed.staging.values())
        assert len(stage.world.running) == 24
        assert "h0" not in stage.world.running.values()
        stage.network.mend()
        stage.agent("h0").holds_back = False
        await come_back(leader, stage)
        await until(lambda: not leader.planning.duplicates)
        assert converged(leader) and left(leader, "h0") == 0

    play(scene, spec=REPLACED)


def test_a_draining_host_of_a_fleet_that_waits_is_lost_over_leaders_and_goes_on_when_back() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        uid = leader.memory.state.fleets["spv"].uid
        await leader.hosts.drain("h0", ME)
        await until(lambda: bool(leader.memory.observed.staging[uid]))
        await lose(leader, stage, "h0")

    async def second(leader: Leader, stage: Stage) -> None:
        await until(lambda: leader.planner.plans_freely)
        await asyncio.sleep(5)
        now = answers.drain_of(leader, "h0")
        if now.left:
            assert "--force gives them up" in answers.blockers_of(leader, "h0", now)
        await come_back(leader, stage)
        await until(lambda: left(leader, "h0") == 0)
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 24

    play(first, second)
