"""One link per host, in virtual time: dialled at a pace, read, pushed to, and given up on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.agents import AheadOfStore, Declined, StaleTerm
from fleet_controller.core.model import Health
from fleet_controller.links import Link, Links, LinkSettings
from tests.scripted_agents import FakeDialer, ScriptedAgent
from tests.virtual_loop import run_virtual

HEARTBEAT = 5.0
SETTINGS = LinkSettings(parallel_dials=16)


class Leader:
    """The superior of the links: it notes what it hears."""

    def __init__(self) -> None:
        self.term = types.Term(store_generation=1, revision=7)
        self.acts = True
        self.assignments: dict[str, int] = {}  # host -> revision of its assignment
        self.heard: list[tuple[str, wire.Report]] = []
        self.lost: list[str] = []
        self.changes: list[tuple[str, Health]] = []
        self.why: list[str] = []
        self.understands = True

    def may_act(self) -> bool:
        return self.acts

    def assignment_for(self, host_id: str) -> wire.AssignRequest | None:
        if host_id not in self.assignments:
            return None
        epoch = types.Epoch(store_generation=1, revision=self.assignments[host_id])
        return wire.AssignRequest(term=self.term, epoch=epoch, host_id=host_id)

    def reported(self, host_id: str, report: wire.Report) -> None:
        if not self.understands:
            raise ValueError("an empty range")
        self.heard.append((host_id, report))

    def lost_sight(self, host_id: str) -> None:
        self.lost.append(host_id)

    def health_changed(self, host_id: str, before: Health, after: Health, why: str) -> None:
        assert before is not after
        self.changes.append((host_id, after))

    def outranked(self, why: str) -> None:
        self.why.append(why)


class Rig:
    """Links over scripted agents, each at the address `<host>:1`."""

    def __init__(self, settings: LinkSettings, dial_seconds: float) -> None:
        self.leader = Leader()
        self.dialer = FakeDialer(dial_seconds)
        clock = asyncio.get_running_loop().time
        self.links = Links(self.leader, self.dialer, clock, Random(1), settings)

    def add(self, host: str, *, known: bool = True) -> ScriptedAgent:
        """An agent, and `known`: a host record of it."""
        agent = self.dialer.agents[f"{host}:1"] = ScriptedAgent(host)
        if known:
            self.links.host(host, f"{host}:1")
        return agent

    def link(self, host: str) -> Link:
        return self.links.links[host]

    def health(self, host: str) -> Health:
        return self.link(host).health

    def counts(self) -> dict[Health, int]:
        return {health: n for health, n in self.links.by_health.items() if n}

    async def until(self, condition: Callable[[], bool], seconds: float = 600.0) -> float:
        """Seconds that it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not condition():
            assert loop.time() < began + seconds, "not within the time"
            await asyncio.sleep(0.01)
        return loop.time() - began

    async def speak(self) -> None:
        """Each agent sends its heartbeats, for ever."""
        while True:
            await asyncio.sleep(HEARTBEAT)
            for agent in self.dialer.agents.values():
                if agent.streams and agent.speaks:
                    agent.send()


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[None]:
    """The links run, the agents speak; nothing is left of either afterwards."""
    tasks = [asyncio.create_task(rig.links.run()), asyncio.create_task(rig.speak())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert asyncio.all_tasks() == {asyncio.current_task()}, "no orphan tasks"
    assert rig.dialer.open == 0, "no connection is left open"
    assert all(task.cancelled() for task in tasks), "nothing went wrong inside"


Scenario = Callable[[Rig], Coroutine[Any, Any, None]]


def play(scenario: Scenario, settings: LinkSettings = SETTINGS, dial_seconds: float = 0.01) -> None:
    async def whole() -> None:
        await scenario(Rig(settings, dial_seconds))

    run_virtual(whole())


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
        rig.links.host("dead", "nowhere:1")
        rig.add("dumb").speaks = False
        async with running(rig):
            assert not rig.links.settled.is_set()
            await rig.until(rig.links.settled.is_set)
            assert rig.counts() == {Health.LIVE: 1, Health.UNREACHABLE: 2}
            assert "connection refused" in rig.link("dead").error
            assert "no answer" in rig.link("dumb").error

    play(scenario)


def test_without_hosts_there_is_nothing_to_wait_for() -> None:
    async def scenario(rig: Rig) -> None:
        async with running(rig):
            await rig.until(rig.links.settled.is_set, 1.0)

    play(scenario)


def test_a_dead_host_is_dialled_ever_more_seldom_and_at_once_when_it_announces_itself() -> None:
    async def scenario(rig: Rig) -> None:
        rig.links.host("dead", "nowhere:1")
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
        rig.links.host("a", "b:1")
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
            rig.links.host("a", "elsewhere:1")
            await rig.until(lambda: len(moved.watches) == 1, 5.0)
            await rig.until(lambda: rig.health("a") is Health.LIVE)
            assert rig.dialer.open == 1

    play(scenario)


def test_a_host_that_is_forgotten_leaves_nothing() -> None:
    async def scenario(rig: Rig) -> None:
        rig.add("a")
        rig.add("b")
        rig.links.host("dead", "nowhere:1")
        async with running(rig):
            await rig.until(lambda: rig.counts() == {Health.LIVE: 2, Health.UNREACHABLE: 1})
            rig.links.forget("a")
            rig.links.forget("dead")
            rig.links.forget("never known")
            await asyncio.sleep(30)
            assert rig.counts() == {Health.LIVE: 1}
            assert rig.dialer.open == 1

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
            assert rig.link("a").error == "a sends reports that make no sense: an empty range"
            rig.leader.understands = True
            await rig.until(lambda: rig.health("a") is Health.LIVE)

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
            took += await rig.until(lambda: rig.health("a") is Health.SUSPECT)
            assert 55 <= took <= 62
            assert rig.links.age("a") >= 60
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
                rig.links.host(f"h{number}", "nowhere:1")
            await first.until(lambda: bool(first.paces))
            assert first.paces[-1].min_interval_ms > 1_000
            assert rig.link("first").heartbeat == first.paces[-1].heartbeat_ms / 1000

    play(scenario)


# Pushes


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
            assert rig.links.declining == {"a"}
            assert rig.link("a").error == "the ledger is full"
            took = await rig.until(lambda: rig.link("a").acknowledged == (1, 50))
            assert took > 30 and len(agent.assigned) == 10
            assert (rig.links.declining, rig.link("a").error) == (set(), "")
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
            await rig.until(lambda: rig.links.declining == {"a"})
            agent.end()
            await rig.until(lambda: rig.health("a") is Health.UNREACHABLE)
            assert rig.links.declining == set()
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
