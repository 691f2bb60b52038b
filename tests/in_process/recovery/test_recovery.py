"""A store that comes back older than its hosts: changes freeze, VMs go on, an operator decides.

The leader is the real one and the hosts obey it, in virtual time.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fleet.v1 import types_pb2 as types
from fleet_controller.api.history import recover_response
from fleet_controller.core.recovery.view import RecoveryChoice
from fleet_controller.core.refusals import Reason
from fleet_controller.mirror.committer import Frozen
from fleet_controller.store import keys
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import Delete, Put, Unavailable, UnknownOutcome
from tests.doubles import answers
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.leading import another_change, until
from tests.in_process.recovery.restored_site import HOSTS, ME, SPEC, Site, refused, set_back
from tests.virtual_loop import virtual

# Freezing


@pytest.mark.parametrize("cluster", ["memory", "another"])
@virtual
async def test_changes_freeze_and_every_vm_goes_on_as_it_is(cluster: str) -> None:
    site = Site()
    async with set_back(site, cluster=cluster):
        before = site.births
        await site.frozen()
        fleets, hosts = site.chief.fleets, site.chief.hosts
        for change in (
            fleets.scale("spv", 5, ME), fleets.apply("new", SPEC, ME),
            fleets.delete("spv", ME), hosts.cordon("h1", True, ME),
        ):  # fmt: skip
            with refused(Reason.CHANGES_FROZEN) as said:
                await change
            assert "VMs go on as they are" in said[0] and "fleetctl recover --plan" in said[0]
        told = {host: len(site.agent(host).assigned) for host in site.births}
        site.network.cut("h2:1")
        await asyncio.sleep(300)
        site.network.mend()
        await asyncio.sleep(60)
        assert site.births == before
        assert {host: len(site.agent(host).assigned) for host in before} == told, "no word"
        status = answers.status(site.chief)
        assert status.freeze.hosts_ahead >= 1 and status.freeze.reason
        assert (await fleets.plan("spv", 5, ME)).plan.removes == 15, "looking is free"


@virtual
async def test_it_stays_frozen_over_a_failover() -> None:
    site = Site()
    async with set_back(site) as store:
        await site.frozen()
        since = site.chief.memory.state.freeze
    async with site.led(store):
        await site.frozen()
        assert site.chief.memory.state.freeze == since
        with refused(Reason.CHANGES_FROZEN):
            await site.chief.fleets.scale("spv", 5, ME)


@virtual
async def test_whatever_else_decides_something_cannot_write_it() -> None:
    site = Site()
    async with set_back(site):
        await site.frozen()
        committer = site.chief.committer
        for key in (keys.assignment("h1"), keys.fleet("spv"), keys.BREAKER, keys.ROLLOUTS):
            with pytest.raises(Frozen):
                await committer.write([Put(key, b"{}")])
        await site.announce("h1")


@virtual
async def test_a_store_that_only_moved_on_freezes_nothing() -> None:
    site = Site()
    store = MemoryStore(site.clock)
    for total in (20, 30, 10):
        async with site.led(store):
            await site.announce()
            await site.chief.fleets.apply("spv", SPEC, ME)
            await site.scale(total)
            assert site.chief.memory.state.freeze is None


# Going on


@pytest.mark.parametrize("cluster", ["memory", "another"])
@virtual
async def test_adopting_goes_on_with_what_runs_and_stops_nothing(cluster: str) -> None:
    site = Site()
    async with set_back(site, cluster=cluster):
        before = site.births
        await site.frozen()
        plan = await site.chief.recovery.plan(RecoveryChoice(True))
        assert (plan.unconfirmed, plan.unseen, plan.fleets[0].running) == (("spv",), (), 30)
        done = await site.chief.recovery.recover(RecoveryChoice(True, {"spv": 30}), plan.token, ME)
        assert done.complete
        await site.thawed()
        await site.converged(30)
        assert site.births == before, "the same VMs, with the births they had"
        highest = max(birth for mine in before.values() for birth in mine.values())
        await site.scale(12)
        await site.scale(60)
        late = [b for mine in site.births.values() for vm, b in mine.items() if vm[1] >= 12]
        assert min(late) > highest
        lines = [one.action for one in site.chief.memory.state.audit.page("", "", 0, 9)[0]]
        assert lines[:4] == ["scale", "scale", "recover", "freeze"]


@virtual
async def test_nothing_is_adopted_while_orders_of_former_leaders_may_be_on_their_way() -> None:
    site = Site()
    async with set_back(site) as store:
        await site.frozen()
    site.settings = replace(site.settings, recover_after=90.0)
    async with site.led(store):
        await site.frozen()
        choice = RecoveryChoice(True, {"spv": 30})
        plan = await site.chief.recovery.recover(choice, "", ME)
        assert not plan.complete and 80 < plan.too_early <= 90
        said = recover_response(plan, 4, True).message
        assert said.startswith("wait ") and "an order of a former leader" in said
        assert site.chief.memory.state.freeze, "the totals are remembered, and nothing is done"
        assert (await site.chief.recovery.plan(RecoveryChoice(False))).complete, "it moves nothing"
        await asyncio.sleep(plan.too_early)
        done = await site.chief.recovery.recover(RecoveryChoice(True), "", ME)
        assert done.complete
        await site.converged(30)


@virtual
async def test_an_empty_store_is_filled_from_what_agents_run() -> None:
    site = Site()
    async with site.led(MemoryStore(site.clock)):
        await site.announce()
        await site.chief.fleets.apply("spv", SPEC, ME)
        await site.scale(30)
    before = site.births
    async with site.led(MemoryStore(site.clock)):
        await site.announce()
        await site.frozen()
        plan = await site.chief.recovery.recover(RecoveryChoice(True, {"spv": 31}), "", ME)
        assert plan.complete and plan.fleets[0].adopted == 30
        await site.converged(31)
        for host, mine in before.items():
            assert mine.items() <= site.births[host].items()


@virtual
async def test_confirming_goes_on_with_the_stores_own_assignments() -> None:
    site = Site()
    async with set_back(site):
        await site.frozen()
        await site.chief.recovery.recover(RecoveryChoice(False), "", ME)
        await site.thawed()
        await until(lambda: site.chief.memory.observed.converged == HOSTS)
        assert site.chief.memory.state.fleets["spv"].total == 20
        assert len(site.world.running) == 30, "what the store does not know is left alone"


@virtual
async def test_it_stays_frozen_until_totals_are_confirmed_and_unseen_hosts_are_accounted_for() -> (
    None
):
    site = Site()
    site.world.running.clear()
    async with set_back(site):
        site.network.cut("h3:1")
        await site.frozen()
        site.network.mend()
    site.network.cut("h3:1")
    # Another leader over the same store has never heard h3.
    assert site.replica is not None
    store = site.replica.store
    async with site.led(store):
        await site.frozen(HOSTS - 1)
        recovery = site.chief.recovery
        plan = await recovery.recover(RecoveryChoice(True), "", ME)
        assert (plan.complete, plan.unseen) == (False, ("h3",))
        plan = await recovery.recover(RecoveryChoice(True, {"spv": 30}), "", ME)
        assert not plan.complete and plan.unconfirmed == ()
        with refused(Reason.BAD_QUERY):
            await recovery.recover(RecoveryChoice(True, absent=frozenset({"h1"})), "", ME)
        with refused(Reason.NO_SUCH_HOST):
            await recovery.recover(RecoveryChoice(True, absent=frozenset({"h99"})), "", ME)
        with refused(Reason.NO_SUCH_FLEET):
            await recovery.recover(RecoveryChoice(True, {"other": 1}), "", ME)
        assert site.chief.memory.state.freeze is not None
        plan = await recovery.recover(RecoveryChoice(True, absent=frozenset({"h3"})), "", ME)
        assert plan.complete, "the totals were remembered"
        await site.thawed()
        assert site.chief.memory.state.hosts["h3"].lost
        assert site.chief.memory.state.fleets["spv"].total == 30


@virtual
async def test_a_host_that_comes_back_while_frozen_is_accounted_for_by_itself() -> None:
    site = Site()
    async with set_back(site) as store:
        await site.frozen()
    site.network.cut("h3:1")
    async with site.led(store):
        await site.frozen(HOSTS - 1)
        wish = RecoveryChoice(True, {"spv": 30}, frozenset({"h3"}))
        assert (await site.chief.recovery.plan(wish)).complete
        site.network.mend()
        await site.frozen(HOSTS)
        await site.chief.recovery.recover(RecoveryChoice(True, {"spv": 30}), "", ME)
        await site.converged(30)
        assert not site.chief.memory.state.hosts["h3"].lost


@virtual
async def test_an_old_plan_is_refused() -> None:
    site = Site()
    async with set_back(site):
        await site.frozen()
        with refused(Reason.STALE_PLAN):
            await site.chief.recovery.recover(RecoveryChoice(True, {"spv": 30}), "another", ME)
        assert site.chief.memory.state.freeze


@virtual
async def test_without_a_freeze_there_is_nothing_to_recover() -> None:
    site = Site()
    async with site.led(MemoryStore(site.clock)):
        with refused(Reason.NOT_FROZEN):
            await site.chief.recovery.plan(RecoveryChoice(True))


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.ANSWER_LOST, Fault.REQUEST_LOST])
@pytest.mark.parametrize("at", [0, 1])
@virtual
async def test_a_recovery_cut_short_is_asked_for_again(fault: Fault, at: int) -> None:
    site = Site()
    async with set_back(site) as store:
        assert isinstance(store, FaultyStore)
        before = site.births
        await site.frozen()
        store.faults = [None] * at + [fault]
        try:
            await site.chief.recovery.recover(RecoveryChoice(True, {"spv": 30}), "", ME)
        except Unavailable:
            assert site.chief.memory.state.freeze
            await site.chief.recovery.recover(RecoveryChoice(True, {"spv": 30}), "", ME)
        except UnknownOutcome:
            assert (at, fault) == (1, Fault.ANSWER_LOST), "and it stands"
        await site.converged(30)
        assert site.births == before


@virtual
async def test_a_leader_that_dies_in_a_recovery_is_succeeded_by_one_that_is_asked_again() -> None:
    site = Site()
    async with set_back(site) as store:
        assert isinstance(store, FaultyStore)
        before = site.births
        await site.frozen()
        store.faults = [None, Fault.STUCK]
        recovering = asyncio.ensure_future(
            site.chief.recovery.recover(RecoveryChoice(True, {"spv": 30}), "", ME)
        )
        await until(lambda: not store.faults)
        recovering.cancel()
        await asyncio.wait([recovering])
    async with site.led(store):
        await site.frozen()
        await site.chief.recovery.recover(RecoveryChoice(True, {"spv": 30}), "", ME)
        await site.converged(30)
        assert site.births == before


@virtual
async def test_an_agent_whose_ledger_is_gone_is_adopted_with_its_orphans() -> None:
    site = Site()
    async with site.led(MemoryStore(site.clock)):
        await site.announce()
        await site.chief.fleets.apply("spv", SPEC, ME)
        await site.scale(30)
    before = site.births
    site.agent("h0").forget()
    async with site.led(MemoryStore(site.clock)):
        await site.announce()
        await site.frozen()
        await site.chief.recovery.recover(RecoveryChoice(True, {"spv": 30}), "", ME)
        await site.converged(30)
        assert site.births == before


@virtual
async def test_what_waits_for_a_recovery_to_end_is_left_to_the_next_leadership() -> None:
    site = Site()
    async with set_back(site):
        await site.frozen()
        chief = site.chief
        async with another_change(chief):
            recovering = asyncio.ensure_future(
                chief.recovery.recover(RecoveryChoice(True, {"spv": 30}), "", ME)
            )
            await asyncio.sleep(0)
            late = asyncio.ensure_future(chief.fleets.scale("spv", 5, ME))
            await asyncio.sleep(0)
        await recovering
        with pytest.raises(Unavailable):
            await late
        await site.converged(30)


@virtual
async def test_what_hosts_are_given_is_written_after_the_templates_that_it_is_made_of() -> None:
    site = Site()

    async def another_generation() -> None:
        spec = types.FleetSpec(memory_bytes=8 << 20, vcpus=1)
        await site.chief.fleets.apply("spv", spec, ME)
        await site.scale(30)

    async with set_back(site, late=None, after=another_generation) as store:
        assert isinstance(store, FaultyStore)
        await site.frozen()
        sent = len(store.txns)
        store.faults = [None, Fault.REFUSED]
        with pytest.raises(Unavailable):
            await site.chief.recovery.recover(RecoveryChoice(True, {"spv": 30}), "", ME)
        written = [write.key for _, writes in store.txns[sent:] for write in writes]
        assert keys.spec_of(written[0]) and not any(
            key.startswith(keys.ASSIGNMENTS) for key in written
        )
        await site.chief.recovery.recover(RecoveryChoice(True, {"spv": 30}), "", ME)
        await site.converged(30)


@virtual
async def test_a_host_that_the_recovered_store_gave_nothing_lets_go_of_what_others_run() -> None:
    site = Site()
    site.world.is_lost = lambda host: host == "h3"
    async with set_back(site) as store:
        await site.frozen()
        await store.txn([], [Delete(keys.assignment("h3"))])
    site.network.cut("h3:1")
    async with site.led(store):
        await site.frozen(HOSTS - 1)
        wish = RecoveryChoice(True, {"spv": 30}, frozenset({"h3"}))
        await site.chief.recovery.recover(wish, "", ME)
        await site.converged(30)
        assert site.world.twice, "nobody has told h3"
        site.network.mend()
        await until(lambda: not site.world.twice)
        await site.converged(30)
        assert not site.chief.memory.state.hosts["h3"].lost


@virtual
async def test_a_second_recovery_rises_above_the_first() -> None:
    site = Site()
    async with set_back(site) as store:
        await site.frozen()
        backup = await store.read()
        await site.chief.recovery.recover(RecoveryChoice(True, {"spv": 30}), "", ME)
        await site.converged(30)
        await site.scale(40)
    entries = tuple(entry for entry in backup.entries if entry.key != keys.LEADER)
    again = MemoryStore.restored(replace(backup, entries=entries), site.clock)
    async with site.led(again):
        await site.frozen()
        await site.chief.recovery.recover(RecoveryChoice(True, {"spv": 40}), "", ME)
        await site.converged(40)
        assert site.chief.memory.state.meta.generation == 3
        await site.scale(20)
        await site.scale(50)


@virtual
async def test_an_older_agent_that_cannot_be_looked_at_is_reached_once_it_is_confirmed() -> None:
    site = Site()
    async with set_back(site) as store:
        await site.frozen()
    site.agent("h3").knows_observers = False
    site.agent("h3").term = (1, 10_000)
    async with site.led(store):
        await site.frozen(HOSTS - 1)
        links = site.chief.memory.links
        await until(lambda: "has heard" in links.error("h3"))
        await site.chief.recovery.recover(RecoveryChoice(False), "", ME)
        await until(lambda: site.chief.memory.observed.converged == HOSTS)
