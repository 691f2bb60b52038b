"""People, and what they own, under the real leader in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from fleet.v1 import types_pb2 as types
from fleet_controller.core.people.changes import QuotaChange
from fleet_controller.core.people.records import Grant, PersonRole
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.core.rollouts_and_drains.rollout_orders import RolloutOptions
from fleet_controller.replica.leader import Leader
from tests.doubles.leading import until
from tests.in_process.six_hosts import ME, SPEC, Stage, converged, kinds, play, told

ADMIN = Grant(PersonRole.ADMIN)
NO_CHANGE = QuotaChange()


async def add(leader: Leader, name: str, quota: QuotaChange = NO_CHANGE) -> None:
    await leader.people.add(name, [ADMIN], quota, ME, "me")


async def own(leader: Leader, quota: QuotaChange) -> int:
    """`me` owns the fleet within the bound; how many VMs it has."""
    await add(leader, "me", quota)
    _, fleet = await leader.fleets.set_owners("spv", ["me"], [], ME)
    return fleet.total


def of_memory(factor: int) -> types.FleetSpec:
    spec = types.FleetSpec()
    spec.CopyFrom(SPEC)
    spec.memory_bytes = SPEC.memory_bytes * factor
    return spec


def test_scales_asked_at_once_grow_to_the_bound_and_no_further() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        total = await own(leader, QuotaChange(vms=40))
        await leader.fleets.apply("other", SPEC, ME, owner="me")
        assert leader.memory.state.fleets["other"].owners == ("me",)
        asked = [
            leader.fleets.scale(name, wanted, ME, partial=True)
            for name, wanted in (("spv", total + 9), ("other", 9), ("spv", total + 8), ("other", 8))
        ]
        done = await asyncio.gather(*asked, return_exceptions=True)
        refused = [one for one in done if isinstance(one, BaseException)]
        assert refused and all(isinstance(one, Refused) for one in refused)
        assert sum(one.total for one in leader.memory.state.fleets.values()) <= 40

    play(scene)


def test_neither_a_template_nor_a_rollout_back_brings_memory_beyond_the_bound() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        total = await own(leader, QuotaChange(memory_bytes=-1))
        await leader.fleets.apply("spv", of_memory(2), ME)
        await leader.fleets.apply("spv", of_memory(1), ME)
        await until(lambda: converged(leader))
        await add(leader, "me", QuotaChange(memory_bytes=total * SPEC.memory_bytes))
        with pytest.raises(Refused, match="of memory: me may own") as refused:
            await leader.fleets.apply("spv", of_memory(3), ME)
        assert refused.value.reason is Reason.OVER_QUOTA
        with pytest.raises(Refused, match="of memory: me may own"):
            await leader.rollouts.start("spv", RolloutOptions(generation=2), ME, plan_only=False)
        assert not leader.memory.state.rollouts

    play(scene)


def test_a_lowered_bound_stops_nothing_that_runs() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        total = await own(leader, QuotaChange(vms=100))
        running = dict(stage.world.running)
        await add(leader, "me", QuotaChange(vms=1))
        await asyncio.sleep(300)
        assert stage.world.running == running and converged(leader)
        await leader.fleets.scale("spv", total - 1, ME)

    play(scene)


def test_roles_are_given_while_changes_are_frozen_and_are_known_to_the_next_leader() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await add(leader, "me")
        await leader.recovery.begin("a drill", ME)

    async def frozen(leader: Leader, stage: Stage) -> None:
        await add(leader, "al")
        assert sorted(leader.memory.state.people) == ["al", "me"]
        assert kinds(leader)["role_given"]
        assert told(leader)[-1] == ("users_add", ME, "al is admin on all")
        await leader.people.remove("al", [], ME)
        assert told(leader)[-1] == ("users_remove", ME, "no role")

    play(scene, frozen)


def test_of_two_admins_who_remove_one_another_at_once_one_stays() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        for name in ("me", "al"):
            await add(leader, name)
        asked = [leader.people.remove(name, [], ME) for name in ("me", "al")]
        done = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(one, Refused) for one in done] == [False, True]
        assert list(leader.memory.state.people) == ["al"]

    play(scene)
