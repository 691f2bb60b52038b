"""Hosts that misbehave: their links end, and come back ever more slowly; others never notice."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fleet_controller.agents.conduct import Conduct, ConductSettings
from fleet_controller.agents.links import LinkSettings
from fleet_controller.agents.port import Misbehaved
from fleet_controller.core.host_loss.health import pace_for
from fleet_controller.core.model import Health
from fleet_controller.observed.report_bounds import bytes_for
from tests.controller.agents.link_rig import SETTINGS, Rig, play, running

WAYS = ConductSettings(first_wait=5.0, last_wait=40.0, forgive_after=100.0)
QUICK: LinkSettings = replace(SETTINGS, conduct=WAYS)


def test_a_host_that_sends_faster_than_its_pace_loses_its_link_and_is_named() -> None:
    async def scenario(rig: Rig) -> None:
        agent, other = rig.add("a"), rig.add("b")
        async with running(rig):
            await rig.until(lambda: rig.counts() == {Health.LIVE: 2})
            for _ in range(2000):
                agent.send()
            await rig.until(lambda: rig.health("a") is Health.UNREACHABLE)
            assert len(rig.leader.heard) < 1000
            ((host, why),) = rig.leader.accused
            assert (host, why) == (
                "a", "a sends more reports than its pace, one in 0.1 s, allows",
            )  # fmt: skip
            assert rig.table.misbehaves("a") == why and rig.table.misbehaving == {"a"}
            assert "it is left alone for 5 s" in rig.link("a").error
            assert rig.health("b") is Health.LIVE and len(other.watches) == 1

    play(scenario, QUICK)


def test_a_host_that_sends_too_many_bytes_is_the_same() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            rig.leader.most_bytes = 1000
            for _ in range(40):
                agent.send(released=range(10**6, 10**6 + 250))
            await rig.until(lambda: rig.health("a") is Health.UNREACHABLE)
            assert "sends more than 2,000 bytes a second" in rig.leader.accused[0][1]

    play(scenario, QUICK)


def test_a_message_that_is_too_large_to_be_read_is_the_same() -> None:
    async def scenario(rig: Rig) -> None:
        rig.add("a").watch_refusals = [Misbehaved("a: it sends more at once")]
        async with running(rig):
            await rig.until(lambda: rig.table.misbehaving == {"a"})
            took = await rig.until(lambda: rig.health("a") is Health.LIVE)
            assert 4.9 <= took <= 5.2

    play(scenario, QUICK)


def test_it_comes_back_ever_more_slowly_also_when_it_announces_itself_and_is_forgiven() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        async with running(rig):
            waits = []
            for _ in range(5):
                await rig.until(lambda: rig.health("a") is Health.LIVE)
                rig.leader.understands = False
                agent.send()
                await rig.until(lambda: rig.health("a") is not Health.LIVE)
                rig.leader.understands = True
                rig.links.redial("a")
                waits.append(round(await rig.until(lambda: rig.health("a") is Health.LIVE)))
            assert waits == [5, 10, 20, 40, 40]
            assert rig.table.misbehaves("a"), "shown for a while after it is back"
            await rig.until(lambda: not rig.table.misbehaving)
            assert rig.table.misbehaves("a") == "" and rig.link("a").conduct.wait == 0

    play(scenario, QUICK)


def test_a_host_that_is_back_and_falls_silent_is_dialled_again_at_once() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        agent.watch_refusals = [Misbehaved("a: it sends more at once")] * 4
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            assert not rig.link("a").conduct.left_alone
            agent.end()
            await rig.until(lambda: rig.health("a") is not Health.LIVE)
            assert not rig.link("a").conduct.left_alone
            assert await rig.until(lambda: rig.health("a") is Health.LIVE) < 20

    play(scenario, QUICK)


def test_a_host_that_misbehaved_and_died_is_silent_and_no_more() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            rig.leader.understands = False
            agent.send()
            await rig.until(lambda: rig.link("a").conduct.left_alone)
            del rig.dialer.agents["a:1"]
            await rig.until(lambda: not rig.link("a").conduct.left_alone)
            assert rig.table.misbehaves("a") == ""
            assert "connection refused" in rig.link("a").error

    play(scenario, QUICK)


def test_a_link_that_ends_as_soon_as_it_stands_is_dialled_ever_more_seldom() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        async with running(rig):
            loop = asyncio.get_running_loop()
            until = loop.time() + 300
            while loop.time() < until:
                await rig.until(lambda: rig.health("a") is Health.LIVE)
                agent.end()
                await rig.until(lambda: rig.health("a") is not Health.LIVE)
            assert len(agent.watches) < 40

    play(scenario)


def test_a_host_that_is_forgotten_while_it_is_left_alone_leaves_nothing() -> None:
    async def scenario(rig: Rig) -> None:
        rig.add("a").watch_refusals = [Misbehaved("a: it sends more at once")]
        async with running(rig):
            await rig.until(lambda: rig.table.misbehaving == {"a"})
            rig.links.forget("a")
            assert not rig.table.misbehaving and not rig.table.misbehaves("a")

    play(scenario, QUICK)


def test_an_honest_agent_never_meets_its_bounds_whatever_the_size_of_the_fleet() -> None:
    """It sends at its pace, every report as large as its host allows at first, and one more
    whenever it has converged; and a leader that was held up finds those of half a minute."""
    most = bytes_for(1000)
    for hosts in (1, 24, 500, 4_480, 20_000):
        interval, conduct, now = pace_for(hosts).min_interval, Conduct(), 1000.0
        for turn in range(2000):
            now += interval
            # All states and five hundred problems; then states, and some dozens of problems.
            size = most if turn < 10 else most // 10
            said = conduct.too_fast(size, most, interval, now)
            said = said or conduct.too_fast(100, most, interval, now)
            assert not said, (hosts, turn, said)
        now += 30
        for _ in range(int(30 / interval)):
            assert not conduct.too_fast(1000, most, interval, now)
