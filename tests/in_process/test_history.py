"""What the history tells of drains, power and rollouts, in virtual time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.audit import BY_LEADER
from fleet_controller.core.rollouts_and_drains.control import Action
from fleet_controller.core.rollouts_and_drains.rollout_orders import RolloutAction, RolloutOptions
from fleet_controller.core.vm_states import FAILED
from fleet_controller.replica.leader import Leader
from fleet_controller.store.port import StoreError
from tests.doubles.faulty_store import Fault
from tests.doubles.leading import QUICK, until
from tests.in_process.six_hosts import (
    HOSTS,
    ME,
    Stage,
    converged,
    do,
    kinds,
    lose,
    newer,
    play,
    told,
)


def test_each_drain_is_in_the_history_once_with_its_end_whoever_leads() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        await leader.hosts.drain("h0", ME)
        await leader.hosts.drain("h0", ME)  # changes nothing
        await until(lambda: leader.memory.state.hosts["h0"].drained)
        await leader.hosts.drain("h1", ME)
        await leader.hosts.cancel_drain("h1", ME)
        await leader.hosts.cancel_drain("h1", ME)  # nor does this
        seen = kinds(leader)
        assert (seen["host_draining"], seen["host_drain_cancelled"], seen["host_drained"]) == (
            2,
            1,
            1,
        )

    async def second(leader: Leader, stage: Stage) -> None:
        await until(lambda: converged(leader))
        await asyncio.sleep(30)
        ours = [("drain", ME, "4 VMs to move"), ("drained", BY_LEADER, "")]
        assert told(leader, host="h0") == ours
        assert [line[0] for line in told(leader, host="h1")] == ["drain", "undrain"]
        await leader.hosts.cancel_drain("h0", ME)
        await leader.hosts.drain("h0", ME)
        await until(lambda: len(told(leader, host="h0")) == 5)
        assert told(leader, host="h0")[2:] == [
            ("undrain", ME, "0 VMs still there"), ("drain", ME, "0 VMs to move"), ours[1],
        ]  # fmt: skip
        await leader.hosts.remove("h0", False, ME)
        assert told(leader, host="h0")[5:] == [("remove", ME, "")]

    play(first, second)


def test_what_is_given_up_by_force_is_in_the_history_with_how_much_it_was() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await lose(leader, stage, "h0")
        await leader.hosts.give_up("h0", ME)
        await until(lambda: leader.memory.state.hosts["h0"].drained)
        await leader.hosts.remove("h0", True, ME)
        assert told(leader, host="h0")[1:] == [
            ("drain", ME, "4 VMs given up"), ("drained", BY_LEADER, ""),
            ("remove", ME, "4 VMs given up"),
        ]  # fmt: skip

    play(scene)


@pytest.mark.parametrize("action", [one for one in Action if one is not Action.RETRY])
def test_what_is_done_to_vms_is_in_the_history_in_one_line(action: Action) -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await do(leader, Action.STOP, "0-1")
        before = len(told(leader))
        meant = await do(leader, action, "0-11")
        hosts = {host for vm, host in stage.world.running.items() if vm[1] < 12}
        assert await do(leader, action, EMPTY) == 0
        (line,) = told(leader, fleet="spv")[before:]
        assert line[:2] == (f"vms_{action.value}", ME)
        assert line[2].startswith(f"{meant} VMs on ") and len(hosts) >= 1

    play(scene)


def test_a_total_for_a_time_is_in_the_history_as_people_write_numbers() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        before = len(told(leader))
        await leader.fleets.scale("spv", 1_500, ME, partial=True, seconds=7200)
        assert told(leader, fleet="spv")[before:] == [("scale", ME, "1,500 for 7,200 s")]

    play(scene)


def test_a_retry_is_in_the_history_where_a_vm_has_failed_and_only_there() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        before = len(told(leader))
        assert await do(leader, Action.RETRY, "0-11") == 0
        assert len(told(leader)) == before
        uid = leader.memory.state.fleets["spv"].uid
        h0 = leader.memory.observed.host("h0").number
        vector = leader.memory.observed.vectors[uid]
        vector.set_state(h0, vector.held(h0, IndexSet.span(0, 24)).lowest(2), FAILED)
        assert await do(leader, Action.RETRY, "0-23") == 2
        (line,) = told(leader, fleet="spv")[before:]
        assert line == ("vms_retry", ME, "2 VMs on 1 host")

    play(scene)


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.REQUEST_LOST, Fault.REFUSED])
@pytest.mark.parametrize("at", [0, 1])
def test_what_takes_several_writes_is_told_with_the_first_of_them(fault: Fault, at: int) -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        stage.store.faults = [*[None] * at, fault]
        with suppress(StoreError):
            await do(leader, Action.STOP, "0-23")
        stage.store.faults = []
        off = IndexSet.union_of(
            shard.ranges
            for one in leader.memory.state.assignments.values()
            for shard in one.shards
            if not shard.power
        )
        lines = [line for line in told(leader) if line[0] == "vms_stop"]
        assert len(lines) == bool(off)

    play(scene, settings=replace(QUICK, max_writes=3))


def test_rollouts_are_in_the_history_by_whom_they_were_asked_for_and_how_they_ended() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        for number in range(HOSTS):
            stage.agent(f"h{number}").broken = {2}
        await leader.fleets.apply("spv", newer(2), ME)
        await leader.rollouts.start("spv", RolloutOptions(max_unavailable=4), ME, plan_only=True)
        await leader.rollouts.start("spv", RolloutOptions(max_unavailable=4), ME, plan_only=False)
        await leader.rollouts.turn("spv", RolloutAction.PAUSE, ME, plan_only=False)
        await leader.rollouts.turn("spv", RolloutAction.RESUME, ME, plan_only=False)
        (uid,) = leader.memory.state.rollouts
        await until(lambda: leader.memory.state.rollouts[uid].state == "halted")
        await leader.rollouts.turn("spv", RolloutAction.ABORT, ME, plan_only=False)
        await leader.rollouts.undo("spv", ME, plan_only=False)
        await until(lambda: leader.memory.state.rollouts[uid].state == "done")
        lines = [line for line in told(leader, fleet="spv") if line[0].startswith("rollout")]
        assert [line[:2] for line in lines] == [
            ("rollout_start", ME), ("rollout_pause", ME), ("rollout_resume", ME),
            ("rollout_halted", BY_LEADER), ("rollout_abort", ME), ("rollout_undo", ME),
            ("rollout_done", BY_LEADER),
        ]  # fmt: skip
        assert lines[0][2] == "running, generation 1 to 2"
        assert "4 of 4 changed VMs failed" in lines[3][2]
        assert lines[-1][2] == "done, generation 2 to 1"

    play(scene)
