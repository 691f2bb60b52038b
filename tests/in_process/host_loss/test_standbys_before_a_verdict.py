"""Before a host is declared lost by time, standbys are asked whether they reach it: the real leader
and the real probe on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.core.host_loss.loss import LossSettings
from fleet_controller.core.model import Health
from fleet_controller.host_loss.standby_poll import ANSWER_SECONDS
from fleet_controller.leader.environment import LeaderSettings
from fleet_controller.observed.standby_reachability import AGAIN_SHARE
from fleet_controller.queries import hosts as host_queries
from fleet_controller.replica.host_probe import PROBE_SECONDS
from fleet_controller.replica.leader import Leader
from fleet_controller.standbys import AtHand, Place
from fleet_controller.store.memory import MemoryStore
from tests.doubles import answers
from tests.doubles.leading import leading, until
from tests.doubles.obedient_agents import Network, ObedientAgent, World
from tests.doubles.standing_by import answering, standby
from tests.virtual_loop import run_virtual

ME = "operator/me"
LOST_AFTER = 300.0
# Nothing but standbys stands in the way of a verdict.
UNBOUND = LossSettings(lost_after=LOST_AFTER, budget=0, fleet_share=1.0, rack_share=1.0)
# Links are swept and hosts judged once a second, and heartbeats come seconds apart.
LATE = 30.0


@dataclass
class Cluster:
    """Hosts h00, h01, ... and who reaches them: the leader, and controller-2 while it stands by."""

    leader: Leader
    network: Network
    at_hand: AtHand
    stack: AsyncExitStack
    world: World = field(default_factory=World)
    standbys: Network = field(default_factory=Network)

    async def stands_by(self, name: str = "controller-2") -> None:
        await self.stack.enter_async_context(standby(self.at_hand, name, self.standbys))

    def cut(self, *numbers: int, also_standbys: bool = False) -> None:
        for number in numbers:
            self.network.cut(f"h{number:02}:1")
            if also_standbys:
                self.standbys.cut(f"h{number:02}:1")

    def lost(self) -> set[str]:
        return set(self.leader.memory.state.lost)

    def told(self, kind: str) -> list[str]:
        events, _ = self.leader.memory.events.after(0, 10_000, "", "")
        return [event.message for event in events if event.kind == kind]

    def problems(self) -> dict[str, cluster.StatusProblem]:
        status = answers.status(self.leader)
        return {one.kind: one for fleet in status.fleets for one in fleet.problems}

    def summary(self, host: str) -> cluster.HostSummary:
        return answers.host_summary(self.leader, host)

    async def scale(self, total: int) -> None:
        await self.leader.fleets.scale("spv", total, ME)
        leader = self.leader
        await until(lambda: answers.fleet_status(leader, "spv").converged)


Scenario = Callable[[Cluster], Awaitable[None]]


def play(scenario: Scenario, loss: LossSettings = UNBOUND, hosts: int = 4) -> None:
    async def whole() -> None:
        store = MemoryStore(asyncio.get_running_loop().time)
        network, at_hand = Network(), AtHand()
        settings = LeaderSettings(settle=5.0, loss=loss)
        async with (
            leading(store, network, settings, at_hand) as leader,
            AsyncExitStack() as stack,
        ):
            made = Cluster(leader, network, at_hand, stack)
            made.world.is_lost = lambda host: host in leader.memory.state.lost
            announced = []
            for number in range(hosts):
                name = f"h{number:02}"
                agent = ObedientAgent(name, made.world, Random(number))
                network.agents[f"{name}:1"] = made.standbys.agents[f"{name}:1"] = agent
                facts = types.HostFacts(incarnation="i", capacity=types.Capacity(guests=10))
                announced.append(leader.announcements.announce(name, f"{name}:1", facts))
            await asyncio.gather(*announced)
            await until(lambda: leader.memory.links.by_health[Health.LIVE] == hosts)
            await leader.fleets.apply("spv", SPEC, ME)
            beating = asyncio.create_task(_beat(network))
            await scenario(made)
            beating.cancel()

    run_virtual(whole())


SPEC = types.FleetSpec(memory_bytes=4 << 20, vcpus=1, on_loss=types.ON_LOSS_REPLACE)


async def _beat(network: Network) -> None:
    while True:
        await asyncio.sleep(4.0)
        for agent in list(network.agents.values()):
            assert isinstance(agent, ObedientAgent)
            agent.beat()


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _seconds_until_lost(it: Cluster, *hosts: str) -> float:
    began = _now()
    await until(lambda: set(hosts) <= it.lost(), 10 * LOST_AFTER)
    return _now() - began


def test_a_host_that_a_standby_reaches_is_not_lost() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(20)
        await it.stands_by()
        it.cut(3)
        await asyncio.sleep(5 * LOST_AFTER)
        assert not it.lost() and it.summary("h03").assigned == 5
        assert it.told("host_cut_off") == [
            "h03 is reached by controller-2 but not by controller-1, which leads: it is not "
            "declared lost; look at the network between them"
        ], "told once"

    play(scenario)


def test_a_host_that_no_standby_reaches_is_lost_as_ever() -> None:
    async def scenario(it: Cluster) -> None:
        await it.stands_by()
        it.cut(3, also_standbys=True)
        assert await _seconds_until_lost(it, "h03") <= LOST_AFTER + LATE
        assert not it.told("host_cut_off")

    play(scenario)


def test_with_no_standby_the_verdict_stands() -> None:
    async def scenario(it: Cluster) -> None:
        it.cut(3)
        assert await _seconds_until_lost(it, "h03") <= LOST_AFTER + LATE

    play(scenario)


def test_with_a_standby_that_does_not_answer_the_verdict_stands_a_few_seconds_later() -> None:
    async def scenario(it: Cluster) -> None:
        asked = asyncio.Event()

        async def silent(places: Iterable[Place]) -> list[str]:
            asked.set()
            await asyncio.Event().wait()
            return []

        await it.stack.enter_async_context(answering(it.at_hand, "controller-2", silent))
        it.cut(3)
        await asked.wait()
        assert await _seconds_until_lost(it, "h03") <= ANSWER_SECONDS + 0.1

    play(scenario)


def test_nobody_waits_for_a_standby_but_the_verdict() -> None:
    async def scenario(it: Cluster) -> None:
        asked = asyncio.Event()

        async def silent(places: Iterable[Place]) -> list[str]:
            asked.set()
            await asyncio.Event().wait()
            return []

        await it.stack.enter_async_context(answering(it.at_hand, "controller-2", silent))
        it.cut(3)
        await asked.wait()
        began = _now()
        await it.scale(10)
        assert _now() - began < 2.0
        assert not it.lost()

    play(scenario)


def test_one_standby_that_reaches_the_host_is_enough() -> None:
    async def scenario(it: Cluster) -> None:
        blind = Network()
        await it.stack.enter_async_context(standby(it.at_hand, "controller-3", blind))
        await it.stands_by("controller-2")
        it.cut(3)
        await asyncio.sleep(2 * LOST_AFTER)
        assert not it.lost() and it.summary("h03").reached_by == "controller-2"

    play(scenario)


def test_a_standby_asks_a_host_without_speaking_in_any_term() -> None:
    async def scenario(it: Cluster) -> None:
        await it.stands_by()
        agent = it.standbys.agents["h03:1"]
        assert isinstance(agent, ObedientAgent)
        it.cut(3)
        await asyncio.sleep(LOST_AFTER - LATE)
        watched, term, told = len(agent.watches), agent.term, len(agent.assigned)
        assert agent.described == 0, "nobody is asked before a host is due"
        await until(lambda: agent.described > 0, 2 * LATE)
        assert (len(agent.watches), agent.term, len(agent.assigned)) == (watched, term, told)

    play(scenario)


def test_a_host_that_is_cut_off_is_shown_until_that_is_over() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(20)
        await it.stands_by()
        it.cut(3)
        await until(lambda: "host_cut_off" in it.problems(), LOST_AFTER + LATE)
        problem = it.problems()["host_cut_off"]
        assert (problem.hosts, problem.count) == (1, 5)
        assert problem.example == "h03: the leader cannot reach it, and controller-2 can"
        assert host_queries.host_counts(it.leader.memory).cut_off == 1
        assert it.summary("h03").reached_by == "controller-2"
        assert it.summary("h02").reached_by == ""
        it.network.mend()
        await until(lambda: it.leader.memory.links.by_health[Health.LIVE] == 4)
        assert "host_cut_off" not in it.problems()
        assert host_queries.host_counts(it.leader.memory).cut_off == 0
        assert it.summary("h03").reached_by == ""

    play(scenario)


def test_a_host_that_dies_while_it_is_cut_off_is_lost_after_the_time_without_anybodys_word() -> (
    None
):
    async def scenario(it: Cluster) -> None:
        await it.stands_by()
        it.cut(3)
        await until(lambda: it.summary("h03").reached_by != "", LOST_AFTER + LATE)
        await asyncio.sleep(2.5 * LOST_AFTER)
        it.cut(3, also_standbys=True)
        it.standbys.cut("h03:1")
        took = await _seconds_until_lost(it, "h03")
        assert (1 - AGAIN_SHARE) * LOST_AFTER - 2 <= took <= LOST_AFTER + LATE
        assert it.told("host_lost") == ["h03 is lost: no word for 300 s"]

    play(scenario)


def test_a_host_that_nobody_reaches_any_longer_is_not_shown_as_reached() -> None:
    async def scenario(it: Cluster) -> None:
        await it.stands_by()
        it.cut(3)
        await until(lambda: it.summary("h03").reached_by != "", LOST_AFTER + LATE)
        it.standbys.cut("h03:1")
        await until(lambda: it.summary("h03").reached_by == "", AGAIN_SHARE * LOST_AFTER + 2)
        assert not it.lost(), "its silence counts from when it was reached last"
        it.standbys.mend()
        await until(lambda: it.summary("h03").reached_by != "", AGAIN_SHARE * LOST_AFTER + 2)

    play(scenario)


def test_an_operators_verdict_asks_nobody() -> None:
    async def scenario(it: Cluster) -> None:
        await it.stands_by()
        it.cut(3)
        await until(lambda: it.summary("h03").reached_by != "", LOST_AFTER + LATE)
        await it.leader.verdicts.declare_lost(["h03"], True, ME)
        assert it.lost() == {"h03"} and it.summary("h03").reached_by == ""
        await asyncio.sleep(LOST_AFTER)
        assert it.lost() == {"h03"}

    play(scenario)


def test_what_only_a_standby_reaches_counts_as_gone_for_the_breaker() -> None:
    """Ten hosts that the leader cannot reach are the network's trouble, whoever else can."""

    async def scenario(it: Cluster) -> None:
        await it.stands_by()
        it.cut(*range(10))
        await until(lambda: len(it.told("host_cut_off")) > 0, LOST_AFTER + LATE)
        it.cut(19, also_standbys=True)
        await until(lambda: bool(it.leader.memory.state.breaker.scopes), 2 * LOST_AFTER)
        await asyncio.sleep(2 * LOST_AFTER)
        assert not it.lost() and it.leader.absences.waiting == 1

    play(scenario, LossSettings(lost_after=LOST_AFTER, budget=0, fleet_share=0.5), hosts=20)


def test_a_burst_delays_verdicts_by_a_few_seconds_at_most() -> None:
    """Of 448 hosts that are due at once a standby reaches every third; the others swallow what
    they are sent."""

    async def scenario(it: Cluster) -> None:
        await it.stands_by()
        dead = [n for n in range(448) if n % 3]
        for n in dead:
            it.standbys.agents[f"h{n:02}:1"].answers = False
        it.cut(*range(448))
        cut_at = _now()
        await until(lambda: len(it.lost()) == len(dead), LOST_AFTER + LATE)
        asking = 2 * PROBE_SECONDS + 2
        assert _now() - cut_at <= LOST_AFTER + 5 + asking
        await asyncio.sleep(LOST_AFTER / 2)
        assert it.lost() == {f"h{n:02}" for n in dead}
        assert it.told("host_cut_off") == [
            "h00, h03, h06, h09, h12 and 145 more are reached by controller-2 but not by "
            "controller-1, which leads: they are not declared lost; look at the network between "
            "them"
        ]

    play(scenario, hosts=450)


def test_within_a_budget_hosts_that_are_reached_hold_nobody_else_up() -> None:
    """Forty silent hosts come before the dead one, and the budget is one verdict a minute."""

    async def scenario(it: Cluster) -> None:
        await it.stands_by()
        it.cut(*range(40))
        await asyncio.sleep(10)
        it.cut(44, also_standbys=True)
        assert await _seconds_until_lost(it, "h44") <= LOST_AFTER + LATE
        assert it.lost() == {"h44"}

    play(scenario, LossSettings(lost_after=LOST_AFTER, budget=1, fleet_share=1), hosts=45)
