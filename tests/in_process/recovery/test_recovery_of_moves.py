"""Drains, power and rollouts where the store comes back older: they stand still, then go on."""

from __future__ import annotations

import asyncio

import pytest

from fleet.keys import Term
from fleet.ranges import IndexSet, parse_ranges
from fleet.v1 import types_pb2 as types
from fleet_controller.changes.vms import Chosen
from fleet_controller.core.recovery.view import RecoveryChoice
from fleet_controller.core.refusals import Reason
from fleet_controller.core.rollouts_and_drains.control import Action
from fleet_controller.core.rollouts_and_drains.rollout_orders import RolloutAction, RolloutOptions
from fleet_controller.store import keys
from tests.doubles.leading import until
from tests.in_process.recovery.restored_site import HOSTS, ME, Site, refused, set_back
from tests.virtual_loop import virtual


def held_by(site: Site, host: str) -> int:
    return len(site.births[host])


async def control(site: Site, action: Action, indices: str) -> None:
    chosen = Chosen("spv", parse_ranges(indices))
    await site.chief.vms.control(chosen, action, ME, plan_only=False, token="")


async def is_staged(site: Site) -> None:
    uid = site.chief.memory.state.fleets["spv"].uid
    await until(lambda: bool(site.chief.memory.observed.staging[uid]))


async def adopt(site: Site, total: int = 20) -> None:
    done = await site.chief.recovery.recover(RecoveryChoice(True, {"spv": total}), "", ME)
    assert done.complete
    await site.thawed()


@virtual
async def test_no_move_is_taken_and_none_goes_on_while_changes_are_frozen() -> None:
    site = Site()

    async def before() -> None:
        spec = types.FleetSpec(memory_bytes=4 << 20, vcpus=2)
        await site.chief.fleets.apply("spv", spec, ME)
        await site.chief.rollouts.start(
            "spv", RolloutOptions(max_unavailable=1), ME, plan_only=False
        )
        await site.chief.hosts.drain("h0", ME)
        await is_staged(site)

    async with set_back(site, late=19, before=before) as store:
        await site.frozen()
        chief, births = site.chief, site.births
        stored = {e.key: e.mod_revision for e in (await store.read()).entries}
        for change in (
            chief.hosts.drain("h1", ME), chief.hosts.cancel_drain("h0", ME),
            chief.hosts.remove("h0", False, ME),
            chief.vms.control(Chosen("spv"), Action.STOP, ME, plan_only=False, token=""),
            chief.rollouts.turn("spv", RolloutAction.ABORT, ME, plan_only=False),
            chief.rollouts.undo("spv", ME, plan_only=False),
        ):  # fmt: skip
            with refused(Reason.CHANGES_FROZEN):
                await change
        await asyncio.sleep(300)
        assert site.births == births
        now = {e.key: e.mod_revision for e in (await store.read()).entries}
        assert now.keys() == stored.keys()
        assert {key for key in now if now[key] != stored[key]} <= {keys.LEADER}


@virtual
async def test_nothing_is_written_that_was_decided_before_the_store_was_doubted() -> None:
    site = Site()
    async with set_back(site, late=20) as store:
        await site.chief.hosts.drain("h0", ME)
        leader = site.chief
        decide = leader.off_loop.run

        async def doubted(work):  # type: ignore[no-untyped-def]
            made = await decide(work)
            heard = leader.memory.state.seals.term(Term(1, 9000))
            assert leader.trust.outranked("h1", heard, "h1 has heard (1, 9000)")
            return made

        leader.off_loop.run = doubted  # type: ignore[method-assign]
        stored = {e.key: e.value for e in (await store.read()).entries}
        await until(lambda: site.replica is not None and leader.trust.anew.is_set())
        now = {e.key: e.value for e in (await store.read()).entries}
        assert {k: v for k, v in now.items() if k.startswith("assignments/")} == {
            k: v for k, v in stored.items() if k.startswith("assignments/")
        }


@pytest.mark.parametrize("late", [20, 25])
@virtual
async def test_a_drain_goes_on_after_a_recovery_and_nothing_runs_twice(late: int) -> None:
    site = Site()

    async def drain() -> None:
        await site.chief.hosts.drain("h0", ME)
        await is_staged(site)

    async def drained() -> None:
        await until(lambda: not held_by(site, "h0"))

    async with set_back(site, late=late, before=drain, after=drained):
        await site.frozen()
        await adopt(site, late)
        await until(lambda: not held_by(site, "h0"))
        await site.converged(late)
        lines = [
            (one.action, one.actor) for one in site.chief.memory.state.audit.page("", "h0", 0, 9)[0]
        ]
        assert lines[:2] == [("drained", "leader"), ("drain", ME)]


@virtual
async def test_a_drain_that_the_store_has_forgotten_leaves_every_vm_running_once() -> None:
    site = Site()

    async def drain() -> None:
        await site.chief.hosts.drain("h0", ME)
        await is_staged(site)

    async with set_back(site, late=20, after=drain):
        await site.frozen()
        await adopt(site)
        await site.converged(20)
        assert not site.world.twice


@virtual
async def test_what_was_stopped_before_the_backup_and_after_it_stays_off() -> None:
    site = Site()

    async def before() -> None:
        await control(site, Action.STOP, "0-3")
        await until(lambda: len(site.world.running) == 16)

    async def after() -> None:
        await control(site, Action.START, "0")
        await control(site, Action.STOP, "10-11")
        await until(lambda: len(site.world.running) == 15)

    async with set_back(site, late=None, before=before, after=after):
        await site.frozen()
        running = dict(site.world.running)
        await adopt(site)
        await asyncio.sleep(60)
        assert dict(site.world.running) == running
        off = IndexSet.union_of(
            shard.ranges
            for one in site.chief.memory.state.assignments.values()
            for shard in one.shards
            if not shard.power
        )
        assert str(off) == "1-3,10-11"


@virtual
async def test_a_rollout_of_the_store_is_paused_by_a_recovery_and_resumed_by_an_operator() -> None:
    site = Site()

    async def rollout() -> None:
        spec = types.FleetSpec(memory_bytes=4 << 20, vcpus=2)
        await site.chief.fleets.apply("spv", spec, ME)
        wish = RolloutOptions(max_unavailable=1)
        await site.chief.rollouts.start("spv", wish, ME, plan_only=False)

    async def rolled() -> None:
        state = site.chief.memory.state
        await until(lambda: all(one.state == "done" for one in state.rollouts.values()))

    async with set_back(site, late=None, before=rollout, after=rolled):
        await site.frozen()
        births = site.births
        await adopt(site)
        await asyncio.sleep(60)
        (record,) = site.chief.memory.state.rollouts.values()
        assert (record.state, site.births) == ("paused", births)
        assert "by a recovery" in record.why
        await site.chief.rollouts.turn("spv", RolloutAction.RESUME, ME, plan_only=False)
        await rolled()
        await site.converged(20)


@virtual
async def test_what_is_restarted_and_made_anew_after_a_recovery_is_so() -> None:
    site = Site()
    async with set_back(site):
        await site.frozen()
        await adopt(site, 30)
        await site.converged(30)
        for _ in range(2):
            before = {vm: birth for mine in site.births.values() for vm, birth in mine.items()}
            await control(site, Action.REIMAGE, "0-4")
            await site.converged(30)
            after = {vm: birth for mine in site.births.values() for vm, birth in mine.items()}
            assert {vm[1] for vm in before if after[vm] > before[vm]} == set(range(5))
        await control(site, Action.RESTART, "7")

        def restarted() -> set[int]:
            agents = [site.agent(f"h{number}") for number in range(HOSTS)]
            return {vm[1] for one in agents for vm, value in one.restarts.items() if value}

        await until(lambda: restarted() == {7})
