"""One link per host, in virtual time: dialled at a pace, read, and given up on."""

from __future__ import annotations

import asyncio

from fleet_controller.agents.paces import TOLD_AT_ONCE
from fleet_controller.core.model import Health
from tests.controller.agents.link_rig import HEARTBEAT, SETTINGS, Rig, play, running
from tests.doubles.scripted_agents import ScriptedAgent

# Dialling


def test_hosts_are_dialled_a_few_at_a_time() -> None:
    async def scenario(rig: Rig) -> None:
        for number in range(200):
            rig.add(f"h{number}")
        async with running(rig):
            await rig.until(lambda: rig.counts() == {Health.LIVE: 200})
            assert rig.dialer.most_dialling == SETTINGS.parallel_dials
            assert len(rig.dialer.dialled) == 200

    play(scenario, dial_seconds=1.0)


def test_planning_waits_for_each_host_to_be_tried_and_for_none_to_answer() -> None:
    async def scenario(rig: Rig) -> None:
        rig.add("a")
        rig.links.add("dead", "nowhere:1")
        rig.add("dumb").speaks = False
        async with running(rig):
            assert not rig.table.settled.is_set()
            await rig.until(rig.table.settled.is_set)
            assert rig.counts() == {Health.LIVE: 1, Health.UNREACHABLE: 2}
            assert "connection refused" in rig.link("dead").error
            assert "no answer" in rig.link("dumb").error

    play(scenario)


def test_without_hosts_there_is_nothing_to_wait_for() -> None:
    async def scenario(rig: Rig) -> None:
        async with running(rig):
            await rig.until(rig.table.settled.is_set, 1.0)

    play(scenario)


def test_a_dead_host_is_dialled_ever_more_seldom_and_at_once_when_it_announces_itself() -> None:
    async def scenario(rig: Rig) -> None:
        rig.links.add("dead", "nowhere:1")
        async with running(rig):
            await asyncio.sleep(300)
            assert 300 / 15 / 1.25 - 1 <= len(rig.dialer.dialled) <= 40
            assert rig.health("dead") is Health.SUSPECT
            agent = rig.add("dead")
            took = await rig.until(lambda: rig.health("dead") is Health.LIVE)
            assert took < 1 and agent.watches

    play(scenario)


def test_another_hosts_certificate_is_no_link() -> None:
    async def scenario(rig: Rig) -> None:
        rig.add("b", known=False)
        rig.links.add("a", "b:1")
        async with running(rig):
            await asyncio.sleep(30)
            assert rig.counts() == {Health.UNREACHABLE: 1}
            assert "certificate" in rig.link("a").error

    play(scenario)


def test_a_host_that_moves_is_dialled_at_its_new_address() -> None:
    async def scenario(rig: Rig) -> None:
        rig.add("a")
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            moved = rig.dialer.agents["elsewhere:1"] = ScriptedAgent("a")
            rig.links.add("a", "elsewhere:1")
            await rig.until(lambda: len(moved.watches) == 1, 5.0)
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            assert rig.dialer.open == 1

    play(scenario)


def test_a_host_that_is_forgotten_leaves_nothing() -> None:
    async def scenario(rig: Rig) -> None:
        rig.add("a")
        rig.add("b")
        rig.links.add("dead", "nowhere:1")
        async with running(rig):
            await rig.until(lambda: rig.counts() == {Health.LIVE: 2, Health.UNREACHABLE: 1})
            rig.links.forget("a")
            rig.links.forget("dead")
            rig.links.forget("never known")
            await asyncio.sleep(30)
            assert rig.counts() == {Health.LIVE: 1}
            assert rig.dialer.open == 1

    play(scenario)


def test_hosts_that_come_to_be_known_as_the_leadership_ends_are_linked_to_no_more() -> None:
    async def scenario(rig: Rig) -> None:
        rig.add("a")
        leading = asyncio.create_task(rig.links.run())
        await rig.until(lambda: rig.counts() == {Health.LIVE: 1})
        others = asyncio.all_tasks() - {leading}
        leading.cancel()
        for number in range(20):
            rig.links.add(f"late{number}", "nowhere:1")
            await asyncio.sleep(0)
        await asyncio.wait([leading], timeout=1.0)
        assert leading.done() and asyncio.all_tasks() <= others

    play(scenario)


# Reports


def test_reports_reach_the_leader_in_order() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            for _ in range(3):
                agent.send(converged=True)
            await rig.until(lambda: len(rig.leader.heard) == 4)
            assert [r.sequence for _, r in rig.leader.heard] == [1, 2, 3, 4]
            assert [r.full for _, r in rig.leader.heard] == [True, False, False, False]

    play(scenario)


def test_a_missing_report_means_all_again() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            agent.send(skip=1, converged=True)
            await rig.until(lambda: len(agent.watches) == 2)
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            assert [(r.full, r.converged) for _, r in rig.leader.heard] == [
                (True, False),
                (True, False),
            ]
            assert rig.leader.lost == ["a"]

    play(scenario)


def test_an_agent_that_talks_nonsense_is_a_host_out_of_reach_and_no_more() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            rig.leader.understands = False
            agent.send()
            await rig.until(lambda: len(agent.watches) > 3)
            assert rig.health("a") is Health.UNREACHABLE
            why = "a sends reports that make no sense: an empty range"
            assert rig.link("a").error.startswith(f"{why}; it is left alone for ")
            rig.leader.understands = True
            await rig.until(lambda: rig.health("a") is Health.LIVE)

    play(scenario)


def test_a_defect_of_ours_that_a_report_comes_upon_ends_no_leadership() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            rig.leader.understands, rig.leader.error = False, KeyError("a fleet")
            agent.send()
            await rig.until(lambda: bool(rig.leader.accused))
            why = "a sends reports that this controller cannot handle: see its log"
            assert rig.leader.accused == [("a", why)]
            rig.leader.understands = True
            await rig.until(lambda: rig.health("a") is Health.LIVE)

    play(scenario)


def test_hosts_that_do_not_listen_keep_nobody_from_another_pace() -> None:
    async def scenario(rig: Rig) -> None:
        deaf = [rig.add(f"deaf{number}") for number in range(44)]
        last = rig.add("last")
        for agent in deaf:
            agent.listens = False
        async with running(rig):
            await rig.until(lambda: rig.counts() == {Health.LIVE: 45})
            for number in range(2_000):
                rig.links.add(f"h{number}", "nowhere:1")
            assert await rig.until(lambda: bool(last.paces)) < 3.0

    play(scenario)


def test_many_hosts_are_told_of_another_pace_a_few_at_a_time() -> None:
    async def scenario(rig: Rig) -> None:
        agents = [rig.add(f"a{number}") for number in range(300)]
        reading = most = 0

        async def read() -> None:
            nonlocal reading, most
            reading += 1
            most = max(most, reading)
            await asyncio.sleep(0.05)
            reading -= 1

        for agent in agents:
            agent.reading = read
        async with running(rig):
            await rig.until(lambda: rig.counts() == {Health.LIVE: 300})
            for number in range(9_000):
                rig.links.add(f"h{number}", "nowhere:1")
            await rig.until(lambda: all(agent.paces for agent in agents))
            assert most == TOLD_AT_ONCE
            assert rig.counts()[Health.LIVE] == 300

    play(scenario)


def test_a_silent_host_is_unreachable_then_suspect_and_live_again_once_heard() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        async with running(rig):
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            await asyncio.sleep(60)
            assert rig.health("a") is Health.LIVE, "heartbeats keep it so"
            agent.speaks = False
            took = await rig.until(lambda: rig.health("a") is Health.UNREACHABLE)
            assert 2.5 * HEARTBEAT - HEARTBEAT <= took <= 2.5 * HEARTBEAT + 2
            assert rig.leader.lost == ["a"]
            assert rig.link("a").error.startswith("a: silent for ")
            took += await rig.until(lambda: rig.health("a") is Health.SUSPECT)
            assert 55 <= took <= 62
            assert rig.table.age("a") >= 60
            agent.speaks = True
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            assert [health for _, health in rig.leader.changes] == [
                Health.LIVE,
                Health.UNREACHABLE,
                Health.SUSPECT,
                Health.LIVE,
            ]

    play(scenario)


def test_a_host_that_ends_its_reports_is_dialled_again() -> None:
    async def scenario(rig: Rig) -> None:
        agent = rig.add("a")
        async with running(rig):
            for times in range(1, 4):
                await rig.until(lambda: rig.health("a") is Health.LIVE)
                assert len(agent.watches) == times
                agent.end()
                await rig.until(lambda: rig.health("a") is Health.UNREACHABLE)

    play(scenario)


def test_reports_grow_sparser_with_the_number_of_hosts() -> None:
    async def scenario(rig: Rig) -> None:
        first = rig.add("first")
        async with running(rig):
            await rig.until(lambda: rig.health("first") is Health.LIVE)
            assert first.watches[0].pace.min_interval_ms == 100
            for number in range(2_000):
                rig.links.add(f"h{number}", "nowhere:1")
            await first.until(lambda: bool(first.paces))
            assert first.paces[-1].min_interval_ms > 1_000
            assert rig.link("first").heartbeat == first.paces[-1].heartbeat_ms / 1000

    play(scenario)
