"""One host that claims to know more than the store: the others and their changes go on.

The leader is the real one, in virtual time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from fleet_controller.core.recovery.view import RecoveryChoice
from fleet_controller.core.refusals import Reason
from fleet_controller.store import keys
from fleet_controller.store.memory import MemoryStore
from tests.doubles import answers
from tests.doubles.leading import until
from tests.doubles.obedient_agents import ObedientAgent
from tests.in_process.recovery.restored_site import HOSTS, ME, SPEC, Site, refused
from tests.virtual_loop import virtual

LIAR = "h3"
OTHERS = {"h0", "h1", "h2"}
LOST_AFTER = 300.0

Lie = Callable[[ObedientAgent], None]


def claim_an_epoch(agent: ObedientAgent) -> None:
    agent.epoch, agent.epoch_seal = (2**64 - 1, 2**63 - 1), b"0123456789abcdef"
    agent.beat()


def claim_a_term(agent: ObedientAgent) -> None:
    agent.term = (2**64 - 1, 2**63 - 1)
    agent.end()


each_lie = pytest.mark.parametrize("lie", [claim_an_epoch, claim_a_term])


@asynccontextmanager
async def lied_to(lie: Lie) -> AsyncIterator[Site]:
    """20 VMs on four hosts, of which one has lied for a while."""
    site = Site()
    async with site.led(MemoryStore(site.clock)):
        await site.announce()
        await site.chief.fleets.apply("spv", SPEC, ME)
        await site.scale(20)
        lie(site.agent(LIAR))
        await until(lambda: LIAR in site.chief.memory.unproven)
        yield site


def of_others(site: Site) -> dict[str, set[int]]:
    return {host: {vm[1] for vm in site.births[host]} for host in OTHERS}


@each_lie
@virtual
async def test_changes_are_taken_and_others_carry_them_out(lie: Lie) -> None:
    async with lied_to(lie) as site:
        before = of_others(site)
        await site.chief.fleets.scale("spv", 26, ME)
        await until(lambda: sum(map(len, of_others(site).values())) == 21, 30)
        assert all(before[host] <= mine for host, mine in of_others(site).items())
        assert site.chief.memory.state.freeze is None


@each_lie
@virtual
async def test_it_is_named_with_its_reason(lie: Lie) -> None:
    async with lied_to(lie) as site:
        (fleet,) = answers.status(site.chief).fleets
        (problem,) = [one for one in fleet.problems if one.kind == "distrusted"]
        assert problem.hosts == 1 and LIAR in problem.example
        assert answers.host_summary(site.chief, LIAR).distrusted
        assert answers.status(site.chief).hosts.distrusted == 1
        await asyncio.sleep(600)
        kinds = [event.kind for event in site.chief.memory.events.page(0, 99, "", "").events]
        assert kinds.count("host_distrusted") == 1, "and that once"


@each_lie
@virtual
async def test_it_answers_and_is_not_lost_by_time(lie: Lie) -> None:
    async with lied_to(lie) as site:
        await asyncio.sleep(3 * LOST_AFTER)
        assert not site.chief.memory.state.lost
        site.network.cut(f"{LIAR}:1")
        await until(lambda: site.chief.memory.state.lost == {LIAR}, 2 * LOST_AFTER)


@each_lie
@virtual
async def test_an_operator_makes_it_obey_again(lie: Lie) -> None:
    async with lied_to(lie) as site:
        await site.chief.host_reset.reset(LIAR, ME)
        await until(lambda: LIAR not in site.chief.memory.unproven)
        await site.scale(28)
        (line,) = site.chief.memory.state.audit.page("", LIAR, 0, 9)[0]
        assert (line.action, line.actor) == ("reset_host", ME) and line.before


@virtual
async def test_a_host_of_another_cluster_is_taken_in_by_a_reset_and_keeps_what_it_runs() -> None:
    site = Site()
    async with site.led(MemoryStore(site.clock)):
        await site.announce()
        await site.chief.fleets.apply("spv", SPEC, ME)
        for _ in range(30):  # so that the other store is further on
            await site.chief.hosts.cordon("h0", True, ME)
            await site.chief.hosts.cordon("h0", False, ME)
        await site.scale(20)
    foreign = site.births[LIAR]
    for host in OTHERS:
        site.agent(host).forget()
        site.agent(host).births.clear()
    async with site.led(MemoryStore(site.clock)):
        await site.announce()
        await until(lambda: LIAR in site.chief.memory.unproven)
        await site.chief.host_reset.reset(LIAR, ME)
        await until(lambda: bool(site.chief.memory.observed.host(LIAR).orphans))
        assert site.births[LIAR] == foreign, "left running"


@virtual
async def test_who_is_out_of_reach_cannot_be_reset() -> None:
    async with lied_to(claim_a_term) as site:
        site.network.cut(f"{LIAR}:1")
        with refused(Reason.HOST_UNREACHABLE) as said:
            await site.chief.host_reset.reset(LIAR, ME)
        assert f"host {LIAR} cannot be reached" in said[0]


@virtual
async def test_changes_frozen_by_an_operator_are_recovered_from_what_hosts_have() -> None:
    """A store that is empty, under one host: nobody proves anything, and nobody is many."""
    site = Site()
    for host in OTHERS:
        site.network.cut(f"{host}:1")
    async with site.led(MemoryStore(site.clock)):
        await site.announce(LIAR)
        await site.chief.fleets.apply("spv", SPEC, ME)
        await site.scale(8)
    before = site.births[LIAR]
    async with site.led(MemoryStore(site.clock)):
        await site.announce(LIAR)
        await until(lambda: LIAR in site.chief.memory.unproven)
        assert site.chief.memory.state.freeze is None
        await site.chief.recovery.begin("etcd was lost", ME)
        await site.frozen(heard=1)
        plan = await site.chief.recovery.recover(RecoveryChoice(True, {"spv": 8}), "", ME)
        assert plan.complete and plan.fleets[0].adopted == 8
        await site.thawed()
        await site.converged(8)
        assert site.births[LIAR] == before
        with refused(Reason.NOT_FROZEN):
            await site.chief.recovery.plan(RecoveryChoice(True))


@virtual
async def test_the_key_of_seals_is_made_once_and_kept() -> None:
    site = Site()
    store = MemoryStore(site.clock)
    async with site.led(store):
        (first,) = (await store.read(keys.SEAL)).entries
    async with site.led(store):
        await site.announce()
        assert (await store.read(keys.SEAL)).entries == (first,)


@virtual
async def test_hosts_that_were_told_without_seals_are_told_again_once() -> None:
    site = Site()
    store = MemoryStore(site.clock)
    async with site.led(store):
        await site.announce()
        await site.chief.fleets.apply("spv", SPEC, ME)
        await site.scale(20)
        for number in range(HOSTS):
            site.agent(f"h{number}").epoch_seal = b""
    told = len(site.agent("h0").assigned)
    async with site.led(store):
        await until(lambda: bool(site.agent("h0").epoch_seal))
        await asyncio.sleep(120)
        assert len(site.agent("h0").assigned) == told + 1
