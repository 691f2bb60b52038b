"""Assignments told over links: what is new, the newest only, and again after a refusal."""

from __future__ import annotations

import asyncio

import pytest

from fleet_controller.agents.port import AheadOfStore, Declined, StaleTerm
from fleet_controller.core.model import Health
from tests.controller.agents.link_rig import Rig, play, running


@pytest.mark.parametrize(
    ("epoch", "awaits_assign", "pushes"),
    [((1, 40), False, 0), ((1, 39), False, 1), ((0, 0), False, 1), ((1, 40), True, 1)],
)
def test_a_new_link_is_told_only_what_it_does_not_know(
    epoch: tuple[int, int], awaits_assign: bool, pushes: int
) -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        agent.epoch, agent.awaits_assign = epoch, awaits_assign
        rig.leader.assignments["a"] = 40
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            await asyncio.sleep(3)
            assert len(agent.assigned) == pushes

    play(scenario)


def test_a_host_that_finds_out_later_that_its_ledger_is_an_older_one_is_told_once_more() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        agent.epoch = (1, 40)
        rig.leader.assignments["a"] = 40
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            agent.awaits_assign = True
            agent.send()
            agent.send()
            await asyncio.sleep(3)
            assert len(agent.assigned) == 1

    play(scenario)


def test_a_host_that_was_never_assigned_anything_is_told_nothing() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            rig.links.push("a")
            await asyncio.sleep(3)
            assert agent.assigned == []

    play(scenario)


def test_many_changes_at_once_are_one_push_of_the_newest() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            for revision in range(50, 60):
                rig.leader.assignments["a"] = revision
                rig.links.push("a")
            await agent.until(lambda: bool(agent.assigned))
            await asyncio.sleep(3)
            assert [request.epoch.revision for request in agent.assigned] == [59]
            assert rig.link("a").acknowledged == (1, 59)

    play(scenario)


def test_nothing_is_sent_once_the_lease_may_be_gone() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            rig.leader.acts = False
            rig.leader.assignments["a"] = 50
            rig.links.push("a")
            await asyncio.sleep(30)
            assert agent.assigned == []

    play(scenario)


def test_a_push_that_nobody_answers_is_made_again_on_a_new_link() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            agent.answers = False
            rig.leader.assignments["a"] = 50
            rig.links.push("a")
            await rig.until(lambda: len(agent.watches) == 2)
            agent.answers = True
            await rig.until(lambda: rig.link("a").acknowledged == (1, 50))

    play(scenario)


def test_slow_hosts_hold_up_no_pushes_to_others() -> None:
    async def scenario(rig: Rig) -> None:
        slow = [rig.add(f"slow{number}") for number in range(50)]
        quick = rig.add("quick")
        async with running(rig):
            await rig.until(lambda: rig.counts() == {Health.LIVE: 51})
            for agent in [*slow, quick]:
                agent.answers = agent is quick
                rig.leader.assignments[agent.host_id] = 50
                rig.links.push(agent.host_id)
            assert await rig.until(lambda: rig.link("quick").acknowledged == (1, 50)) < 1

    play(scenario)


@pytest.mark.parametrize("kind", [Declined, AheadOfStore])
def test_a_host_that_declines_stays_linked_and_is_asked_again_ever_more_seldom(
    kind: type[Declined],
) -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            agent.assign_refusals = [kind("the ledger is full") for _ in range(9)]
            rig.leader.assignments["a"] = 50
            rig.links.push("a")
            await rig.until(lambda: len(agent.assigned) == 3)
            assert rig.table.declining == {"a"}
            assert rig.link("a").error == "the ledger is full"
            took = await rig.until(lambda: rig.link("a").acknowledged == (1, 50))
            assert took > 30 and len(agent.assigned) == 10
            assert (rig.table.declining, rig.link("a").error) == (set(), "")
            assert (len(agent.watches), rig.leader.lost) == (1, [])

    play(scenario)


def test_a_host_that_declines_and_goes_is_declining_no_more() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            agent.assign_refusals = [Declined("no")]
            rig.leader.assignments["a"] = 50
            rig.links.push("a")
            await rig.until(lambda: rig.table.declining == {"a"})
            agent.end()
            await rig.until(lambda: rig.health("a") is Health.UNREACHABLE)
            assert rig.table.declining == set()
            await rig.until(lambda: rig.link("a").acknowledged == (1, 50))

    play(scenario)


def test_an_agent_that_has_heard_a_newer_leader_is_believed() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        agent.watch_refusals = [StaleTerm("term 9 was here")]
        async with running(rig):
            await rig.until(lambda: rig.leader.why == ["term 9 was here"])
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            agent.assign_refusals = [StaleTerm("term 10 was here")]
            rig.leader.assignments["a"] = 50
            rig.links.push("a")
            await rig.until(lambda: len(rig.leader.why) == 2)
            assert rig.health("a") is Health.LIVE

    play(scenario)
