"""Disruption budgets under the real leader, in virtual time: waves, deadlines, what is told."""

from __future__ import annotations

import asyncio

import pytest

from fleet.v1 import types_pb2 as types
from fleet_controller.changes.hosts import DrainDeadline
from fleet_controller.changes.vms import Chosen
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.core.rollouts_and_drains.control import Action
from fleet_controller.observed.begun_anew import BegunAnew
from fleet_controller.queries import budgets, drains
from fleet_controller.replica.leader import Leader
from fleet_controller.store import keys
from fleet_controller.store.port import Put
from tests.doubles.leading import until
from tests.in_process.six_hosts import ME, SPEC, Stage, converged, kinds, play


def spec_with(at_most: int, per_minute: int = 0) -> types.FleetSpec:
    spec = types.FleetSpec()
    spec.CopyFrom(SPEC)
    spec.disruption.CopyFrom(types.Disruption(at_most=at_most, share=1.0, per_minute=per_minute))
    return spec


async def order(leader: Leader, action: Action, *, beyond: bool = False) -> int:
    made = await leader.vms.control(
        Chosen("spv"), action, ME, plan_only=False, token="", ignore_budget=beyond
    )
    return made.at_once


def uid_of(leader: Leader) -> str:
    return leader.memory.state.fleets["spv"].uid


async def fewest_until_done(leader: Leader, stage: Stage) -> int:
    fewest = 24
    while leader.memory.state.orders:
        fewest = min(fewest, len(stage.world.running))
        assert not converged(leader), "what was ordered is not done"
        await asyncio.sleep(0.02)
    return fewest


@pytest.mark.parametrize("action", [Action.REIMAGE, Action.RESTART])
def test_restarts_and_reimages_go_on_in_waves(action: Action) -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        assert await order(leader, action) == 3
        assert await fewest_until_done(leader, stage) >= 21
        assert kinds(leader)[f"vms_{action.value}_done"] == 1
        await until(lambda: converged(leader))
        lives = [
            shard.restart or shard.birth
            for one in leader.memory.state.assignments.values()
            for shard in one.shards
        ]
        assert len(set(lives)) >= 8, "24 VMs, three at once"

    play(scene, spec=spec_with(3))


def test_another_leader_goes_on_with_an_order() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        await order(leader, Action.REIMAGE)
        await asyncio.sleep(1.0)
        assert leader.memory.state.orders

    async def second(leader: Leader, stage: Stage) -> None:
        assert await fewest_until_done(leader, stage) >= 21
        await until(lambda: converged(leader))

    play(first, second, spec=spec_with(3))


def test_an_order_is_cancelled_and_what_is_left_stays_as_it_is() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await order(leader, Action.REIMAGE)
        await asyncio.sleep(0.5)
        left = await leader.vms.cancel("spv", Action.REIMAGE, ME)
        assert 0 < len(left) <= 24
        assert not leader.memory.state.orders
        with pytest.raises(Refused) as refused:
            await leader.vms.cancel("spv", Action.REIMAGE, ME)
        assert refused.value.reason is Reason.NOTHING_TO_CHANGE

    play(scene, spec=spec_with(1))


def test_an_order_that_ignores_the_budget_is_done_at_once_and_audited() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        assert await order(leader, Action.REIMAGE, beyond=True) == 0
        assert not leader.memory.state.orders
        newest = leader.memory.state.audit.page("spv", "", 0, 10)[0][0]
        assert "beyond the disruption budget" in newest.after

    play(scene, spec=spec_with(1))


def test_a_drain_moves_no_more_at_once_than_may_be_down() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.hosts.drain("h0", ME)
        fewest = 24
        while not leader.memory.state.hosts["h0"].drained:
            fewest = min(fewest, len(stage.world.running))
            await asyncio.sleep(0.02)
        assert fewest >= 23

    play(scene, spec=spec_with(1))


async def fill(leader: Leader, stage: Stage) -> None:
    """VMs of one host never come up again, so that the budget is full for ever."""
    stage.agent("h5").broken = {1}
    here = Chosen("spv", host="h5")
    await leader.vms.control(
        here, Action.REIMAGE, ME, plan_only=False, token="", ignore_budget=True
    )
    await until(lambda: len(leader.memory.observed.standing(uid_of(leader)).failed) == 4)


def test_a_budget_that_lets_nothing_happen_says_what_to_do() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await fill(leader, stage)
        await leader.hosts.drain("h0", ME)
        fleet = leader.memory.state.fleets["spv"]

        def told() -> str:
            one = budgets.budget_of(leader.memory, leader.planning, fleet)
            assert one is not None
            return one.message

        await until(lambda: "mend them" in told())
        assert "raise disruption.at_most" in told()
        shown, _ = drains.statuses(leader.memory, leader.planning)
        assert "of fleet spv" in shown[0].progress.message

    play(scene, spec=spec_with(2))


@pytest.mark.parametrize("force", [False, True])
def test_at_its_deadline_a_drain_stops_or_goes_on_beyond_budgets(force: bool) -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await fill(leader, stage)
        await leader.hosts.drain("h0", ME, DrainDeadline(20.0, force))
        record = leader.memory.state.hosts["h0"]
        assert record.drain_then == ("force" if force else "stop")
        await asyncio.sleep(15.0)
        assert leader.memory.state.hosts["h0"].draining
        assert not leader.memory.state.hosts["h0"].drained
        if force:
            await until(lambda: leader.memory.state.hosts["h0"].drained)
            assert kinds(leader)["host_drain_forced"] == 1
        else:
            await until(lambda: not leader.memory.state.hosts["h0"].draining)
            assert kinds(leader)["host_drain_stopped"] == 1

    play(scene, spec=spec_with(2))


def test_no_more_are_begun_anew_in_a_minute_than_allowed() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await order(leader, Action.REIMAGE)
        await until(lambda: not leader.memory.state.orders, 300.0)
        # Three minutes' worth: the second and the third wait for the one before.
        assert loop.time() - began >= 120.0

    play(scene, spec=spec_with(24, per_minute=8))


def test_what_is_written_counts_from_its_end() -> None:
    now = 100.0
    begun = BegunAnew(lambda: now)
    assert begun.unknown and begun.seconds_until_less() == 60.0
    with begun.writing({"u": 3}):
        assert begun.counts() == {"u": 3}
        now = 170.0
    assert not begun.unknown
    now = 229.0
    assert begun.counts() == {"u": 3}
    now = 231.0
    assert begun.counts() == {}


def test_a_deleted_fleet_takes_its_orders_with_it() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await order(leader, Action.REIMAGE)
        await leader.fleets.delete("spv", ME)
        await until(lambda: "spv" not in leader.memory.state.fleets)
        entries = (await stage.store.read()).entries
        assert not [entry.key for entry in entries if entry.key.startswith("orders/")]

    play(scene, spec=spec_with(1))


def test_orders_that_cannot_be_read_are_left_alone_and_named() -> None:
    """They take out nothing but what they concern: the fleet goes on, and nothing is begun anew."""

    async def scene(leader: Leader, stage: Stage) -> None:
        key = keys.orders(uid_of(leader))
        await stage.store.txn([], [Put(key, b'{"fleet":"x","restart":7}')])
        await until(lambda: key in leader.memory.state.broken)
        with pytest.raises(Refused) as refused:
            await order(leader, Action.RESTART)
        assert refused.value.reason is Reason.BROKEN_RECORD and key in str(refused.value)
        await leader.fleets.scale("spv", 26, ME)
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 26
        await leader.fleets.delete("spv", ME)
        await until(lambda: "spv" not in leader.memory.state.fleets)
        assert key not in leader.memory.state.broken

    play(scene, spec=spec_with(3))
