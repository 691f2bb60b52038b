"""Hosts that go, return, or fail too much: the real leader on a virtual clock."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import pytest

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller import answers, host_answers
from fleet_controller.agents import Declined
from fleet_controller.core.changes import Reason, Refused
from fleet_controller.core.loss import LossSettings
from fleet_controller.core.model import Health
from fleet_controller.core.quarantine import QuarantineSettings
from fleet_controller.reign import ReignSettings
from fleet_controller.replica import Leading
from fleet_controller.store import keys
from fleet_controller.store.memory import MemoryStore
from tests.faulty_store import Fault, FaultyStore
from tests.leading import leading, until
from tests.obedient_agents import Network, ObedientAgent, World
from tests.virtual_loop import run_virtual

ME = "operator/me"
HOSTS = 20  # in racks of five
LOST_AFTER = 300.0
SICK = QuarantineSettings(least=3, share=0.5, after=60)
UNBOUND = LossSettings(lost_after=LOST_AFTER, budget=0, fleet_share=0.2, rack_share=0.6)


@dataclass
class Cluster:
    """What a scenario has in hand."""

    leader: Leading
    store: FaultyStore
    network: Network = field(default_factory=Network)
    world: World = field(default_factory=World)

    def cut(self, *numbers: int) -> None:
        for number in numbers:
            self.network.cut(f"h{number:02}:1")

    def agent(self, number: int) -> ObedientAgent:
        found = self.network.agents[f"h{number:02}:1"]
        assert isinstance(found, ObedientAgent)
        return found

    def status(self, fleet: str = "spv") -> cluster.FleetStatus:
        reign = self.leader.reign
        return answers.fleet_status(reign, reign.state.fleets[fleet])

    def lost(self) -> set[str]:
        return set(self.leader.reign.state.lost)

    def held(self, host: str) -> int:
        return host_answers.host_summary(self.leader.reign, host).assigned

    def kinds(self) -> Counter[str]:
        events, _ = self.leader.reign.events.after(0, 10_000, "", "")
        return Counter(event.kind for event in events)

    async def scale(self, total: int, fleet: str = "spv") -> None:
        await self.leader.operations.scale(fleet, total, ME)
        await until(lambda: self.status(fleet).converged)


def spec(on_loss: types.OnLoss.ValueType = types.ON_LOSS_REPLACE) -> types.FleetSpec:
    return types.FleetSpec(memory_bytes=4 << 20, vcpus=1, on_loss=on_loss)


Scenario = Callable[[Cluster], Awaitable[None]]


def play(
    scenario: Scenario,
    loss: LossSettings = UNBOUND,
    quarantine: QuarantineSettings = SICK,
    hosts: int = HOSTS,
    guests: int = 10,
) -> None:
    settings = ReignSettings(settle=5.0, loss=loss, quarantine=quarantine)

    async def whole() -> None:
        store = FaultyStore(MemoryStore(asyncio.get_running_loop().time))
        network, world = Network(), World()
        async with leading(store, network, settings) as leader:
            made = Cluster(leader, store, network, world)
            world.is_lost = lambda host: host in leader.reign.state.lost
            for number in range(hosts):
                name = f"h{number:02}"
                network.agents[f"{name}:1"] = ObedientAgent(name, world, Random(number))
                facts = types.HostFacts(
                    incarnation="i",
                    labels={"rack": f"r{number // 5}"},
                    capacity=types.Capacity(guests=guests),
                )
                await leader.announcements.announce(name, f"{name}:1", facts)
            await until(lambda: leader.reign.links.by_health[Health.LIVE] == hosts)
            await leader.operations.apply("spv", spec(), ME)
            beating = asyncio.create_task(_beat(network))
            await scenario(made)
            beating.cancel()

    run_virtual(whole())


async def _beat(network: Network) -> None:
    while True:
        await asyncio.sleep(4.0)
        for agent in list(network.agents.values()):
            assert isinstance(agent, ObedientAgent)
            agent.beat()


def _now() -> float:
    return asyncio.get_running_loop().time()


# Lost, and replaced


def test_only_a_lost_host_is_replaced() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        it.cut(3)
        cut_at = _now()
        await until(lambda: it.leader.reign.links.by_health[Health.SUSPECT] == 1)
        assert it.held("h03") == 5, "suspect, and its VMs stay its own"
        await until(lambda: it.lost() == {"h03"}, 400)
        assert LOST_AFTER - 10 <= _now() - cut_at <= LOST_AFTER + 30
        await until(lambda: it.status().converged, 5)
        assert it.held("h03") == 0
        assert host_answers.host_counts(it.leader.reign).lost == 1
        assert host_answers.host_summary(it.leader.reign, "h03").health == cluster.HOST_HEALTH_LOST
        assert it.kinds()["host_lost"] == 1

    play(scenario)


def test_replacements_of_lost_hosts_are_packed_on_few() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        it.cut(0, 5)
        await until(lambda: len(it.lost()) == 2, 400)
        await until(lambda: it.status().converged, 5)
        assert sorted(Counter(it.world.running.values()).values()) == [5] * 16 + [10, 10]

    play(scenario)


def test_an_operators_verdict_needs_no_waiting_and_no_budget() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        names = ["h00", "h01", "h02", "h03", "h04"]
        it.cut(*range(5))
        await until(lambda: it.leader.reign.links.by_health[Health.LIVE] == HOSTS - 5)
        began = _now()
        await it.leader.verdicts.declare_lost(names, True, ME)
        assert it.lost() == set(names)
        await until(lambda: it.status().converged, 8)
        assert _now() - began < 3
        assert it.leader.reign.state.breaker.scopes == ()

    play(scenario, LossSettings(lost_after=LOST_AFTER, budget=1))


def test_each_verdict_is_in_the_history_by_who_gave_it() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        it.cut(1, 3)
        await until(lambda: it.leader.reign.links.by_health[Health.LIVE] == HOSTS - 2)
        await it.leader.verdicts.declare_lost(["h01"], True, ME)
        await until(lambda: it.lost() == {"h01", "h03"}, 400)
        it.network.mend()
        await until(lambda: not it.lost(), 60)
        audit = it.leader.reign.audit
        told = [(one.action, one.actor) for one in audit.page("", "h01", 0, 10)[0]]
        assert told == [("host_returned", "leader"), ("declare_lost", ME)]
        (back, lost) = audit.page("", "h03", 0, 10)[0]
        assert (back.action, lost.action, lost.actor) == ("host_returned", "declare_lost", "leader")
        assert lost.after == "no word for 300 s"

    play(scenario)


def test_a_live_host_cannot_be_declared_lost() -> None:
    async def scenario(it: Cluster) -> None:
        it.cut(1)
        await until(lambda: it.leader.reign.links.by_health[Health.LIVE] == HOSTS - 1)
        with pytest.raises(Refused, match="h02 is live") as refusal:
            await it.leader.verdicts.declare_lost(["h01", "h02"], True, ME)
        assert refusal.value.reason is Reason.HOST_LIVE
        with pytest.raises(Refused, match="there is no host 'h99'"):
            await it.leader.verdicts.declare_lost(["h01", "h99"], True, ME)
        assert it.lost() == set(), "all or none"

    play(scenario)


def test_a_lost_host_gets_nothing() -> None:
    async def scenario(it: Cluster) -> None:
        it.cut(*range(1, HOSTS))
        await until(lambda: it.leader.reign.links.by_health[Health.LIVE] == 1)
        await it.leader.verdicts.declare_lost(["h01"], True, ME)
        with pytest.raises(Refused, match="do not fit: 10 would"):
            await it.leader.operations.scale("spv", 11, ME)

    play(scenario)


def test_vms_of_a_fleet_that_waits_stay_where_they_are() -> None:
    async def scenario(it: Cluster) -> None:
        await it.leader.operations.apply("web", spec(types.ON_LOSS_WAIT), ME)
        await it.scale(40, "spv")
        await it.scale(40, "web")
        it.cut(3)
        await until(lambda: it.lost() == {"h03"}, 400)
        await until(lambda: it.status("spv").converged, 5)
        assert it.held("h03") == it.status("web").on_lost_hosts == 2
        assert it.status("web").states[types.VM_STATE_UNKNOWN] == 2
        it.network.mend()
        await until(lambda: it.status("web").converged and not it.lost(), 60)
        assert it.status("web").on_lost_hosts == 0

    play(scenario)


def test_the_budget_lets_so_many_hosts_go_a_minute() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(80)
        it.cut(0, 5, 10, 15)
        times = []
        for count in range(1, 5):
            await until(lambda count=count: len(it.lost()) >= count, 500)  # type: ignore[misc]
            times.append(_now())
        gaps = [after - before for before, after in pairwise(times)]
        assert all(28 <= gap <= 32 for gap in gaps[1:]), gaps

    play(scenario, LossSettings(lost_after=LOST_AFTER, budget=2, fleet_share=1))


def test_after_a_failover_silence_counts_from_its_beginning() -> None:
    """The clock of a new leader is its own: nobody is lost sooner than after the full time."""

    async def whole() -> None:
        store = MemoryStore(asyncio.get_running_loop().time)
        network = Network()
        settings = ReignSettings(settle=5.0, loss=UNBOUND)
        facts = types.HostFacts(incarnation="i", capacity=types.Capacity(guests=5))
        async with leading(store, network, settings) as first:
            await first.announcements.announce("a", "a:1", facts)
            await asyncio.sleep(LOST_AFTER - 20)
            assert not first.reign.state.lost
        async with leading(store, network, settings) as second:
            began = _now()
            await until(lambda: second.reign.state.lost == {"a"}, 400)
            assert _now() - began >= LOST_AFTER - 2

    run_virtual(whole())


# An index is in exactly one assignment, whatever part of a replacement is written


@pytest.mark.parametrize("failing", range(4))
def test_an_index_is_never_in_two_assignments_whichever_write_fails(failing: int) -> None:
    """The assignments of many lost hosts and of those that take over do not fit one transaction."""

    async def scenario(it: Cluster) -> None:
        await it.scale(600)
        await _check_one_holder(it)
        lost = [f"h{n:02}" for n in range(150)]
        it.cut(*range(150))
        await until(lambda: it.leader.reign.links.by_health[Health.LIVE] == 150)
        await it.leader.verdicts.declare_lost(lost, True, ME)
        it.store.faults = [*[None] * failing, Fault.REFUSED, Fault.ANSWER_LOST, Fault.REQUEST_LOST]
        while not it.status().converged:
            await _check_one_holder(it)
            await asyncio.sleep(0.05)
        assert it.status().placed == 600 and sum(map(it.held, lost)) == 0

    play(scenario, hosts=300, guests=4)


async def _check_one_holder(it: Cluster) -> None:
    records = [
        it.leader.reign.state.assignments[host] for host in it.leader.reign.state.assignments
    ]
    counts = Counter(i for one in records for shard in one.shards for i in shard.ranges)
    assert not counts or max(counts.values()) == 1


# Returns


def test_a_host_that_returns_gives_up_what_moved_and_shows_no_duplicates_then() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        it.cut(3)
        await until(lambda: it.lost() == {"h03"}, 400)
        await until(lambda: it.status().converged, 5)
        assert it.status().duplicates == 5, "it may be running them still"
        assert host_answers.host_summary(it.leader.reign, "h03").duplicates == 5
        assert it.status().placed == 100, "each is counted once"
        assert len(it.world.twice) == 5
        it.network.mend()
        await until(lambda: not it.world.twice, 60)
        await until(lambda: it.lost() == set() and it.status().duplicates == 0, 5)
        assert it.status().converged
        assert it.kinds()["host_returned"] == 1
        await it.scale(200)
        assert it.held("h03") == 10, "and takes VMs again"

    play(scenario)


def test_a_host_that_returns_is_told_its_assignment_before_its_verdict_is_taken_back() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        agent = it.agent(3)
        it.cut(3)
        await until(lambda: it.lost() == {"h03"}, 400)
        await until(lambda: it.status().converged, 5)
        agent.assign_refusals = [Declined("the ledger is full") for _ in range(3)]
        it.network.mend()
        await until(lambda: it.leader.reign.links.by_health[Health.LIVE] == HOSTS)
        await asyncio.sleep(0.4)
        assert it.lost() == {"h03"} and it.status().duplicates == 5
        await until(lambda: not it.lost(), 60)
        assert not it.world.twice

    play(scenario)


def test_a_verdict_taken_back_by_hand_stands_until_the_time_has_passed_anew() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        it.cut(3)
        await until(lambda: it.lost() == {"h03"}, 400)
        await until(lambda: it.status().converged, 5)
        await it.leader.verdicts.declare_lost(["h03"], False, ME)
        await asyncio.sleep(LOST_AFTER - 10)
        assert not it.lost()
        await until(lambda: it.lost() == {"h03"}, 30)

    play(scenario)


# The breaker


def test_a_rack_that_goes_as_a_whole_is_not_replaced() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        it.cut(0, 1, 2, 3, 4)
        await until(lambda: bool(it.leader.reign.state.breaker.scopes), 400)
        await asyncio.sleep(2_000)
        assert not it.lost() and it.status().placed == 100
        found = answers.status(it.leader.reign, "").breaker
        assert list(found.scopes) == ["fleet", "rack=r0"]
        assert found.reason.startswith("5 of 20 hosts are gone, more than 20%")
        assert it.leader.verdicts.waiting == 5
        assert it.kinds()["breaker_opened"] == 1
        it.network.mend()
        await until(lambda: not it.leader.reign.state.breaker.scopes, 60)
        assert not answers.status(it.leader.reign, "").HasField("breaker")
        assert it.kinds()["breaker_closed"] == 1
        await until(lambda: it.status().converged, 60)
        assert not it.lost(), "those that came back last, too"

    play(scenario)


@pytest.mark.parametrize(("gone", "opens"), [(3, False), (4, True)])
def test_the_breaker_opens_at_more_than_its_share_and_at_no_less(gone: int, opens: bool) -> None:
    """Three of five hosts are 60 %, and four are more."""

    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        it.cut(*range(gone))
        await asyncio.sleep(400)
        assert bool(it.leader.reign.state.breaker.scopes) is opens
        assert len(it.lost()) == (0 if opens else gone)

    play(scenario)


def test_a_verdict_whose_answer_was_lost_counts_for_the_breaker_all_the_same() -> None:
    async def scenario(it: Cluster) -> None:
        it.cut(0, 1, 2)
        await asyncio.sleep(LOST_AFTER - 10)
        it.store.faults = [Fault.ANSWER_LOST, Fault.REFUSED]  # and it cannot be looked into
        await until(lambda: len(it.lost()) == 3)
        assert not it.store.faults
        it.cut(3)
        await asyncio.sleep(LOST_AFTER + 60)
        assert it.lost() == {"h00", "h01", "h02"}, "four of a rack of five are too many"

    play(scenario)


def test_a_released_breaker_lets_hosts_be_replaced_for_a_while() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        it.cut(0, 1, 2, 3, 4)
        await until(lambda: bool(it.leader.reign.state.breaker.scopes), 400)
        until_when = await it.leader.verdicts.release_breaker(120, ME)
        assert until_when == pytest.approx(_now() + 120, abs=1)
        assert answers.status(it.leader.reign, "").breaker_released_seconds == pytest.approx(
            120, abs=1
        )
        await until(lambda: len(it.lost()) == 5, 10)
        await until(lambda: it.status().converged, 10)
        await asyncio.sleep(200)
        assert answers.status(it.leader.reign, "").breaker_released_seconds == 0
        it.cut(5, 6, 7, 8, 9)
        await until(lambda: bool(it.leader.reign.state.breaker.scopes), 400)

    play(scenario)


def test_an_open_breaker_is_known_to_the_next_leader() -> None:
    async def whole() -> None:
        store = MemoryStore(asyncio.get_running_loop().time)
        settings = ReignSettings(settle=5.0, loss=UNBOUND)
        facts = types.HostFacts(incarnation="i", capacity=types.Capacity(guests=5))
        async with leading(store, Network(), settings) as first:
            for name in "abc":
                await first.announcements.announce(name, f"{name}:1", facts)
            await until(lambda: first.reign.state.breaker.scopes == ("fleet",), 400)
            since = first.reign.state.breaker.since
        async with leading(store, Network(), settings) as second:
            for _ in range(60):
                await asyncio.sleep(10)
                assert answers.status(second.reign, "").breaker.since_unix == since
            assert not second.reign.state.lost

    run_virtual(whole())


# Fleets that are gone


def test_a_fleet_deleted_and_made_again_while_a_host_was_away_takes_nothing_of_the_old() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        old = it.status().uid
        it.cut(3)
        await until(lambda: it.lost() == {"h03"}, 400)
        await until(lambda: it.status().converged, 5)
        await it.leader.operations.delete("spv", ME)
        await until(lambda: "spv" not in it.leader.reign.state.fleets, 60)
        await it.leader.operations.apply("spv", spec(), ME)
        await it.scale(190)
        assert it.status().uid != old
        it.network.mend()
        await until(lambda: not it.lost() and not it.world.twice, 60)
        await until(lambda: {uid for uid, _ in it.world.running} == {it.status().uid}, 60)
        assert it.status().placed == len(it.world.running) == 190

    play(scenario)


def test_orphans_of_a_fleet_that_was_deleted_are_released_with_its_name() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(20)
        uid = it.status().uid
        await it.leader.operations.delete("spv", ME)
        await until(lambda: "spv" not in it.leader.reign.state.fleets, 60)
        stray = it.agent(7)
        stray.orphans = [_orphans(uid, 5)]
        stray.beat()
        await until(lambda: any(stone.born_until == 5 for stone in stray.told.tombstones), 10)
        assert [fleet.name for fleet in stray.told.fleets] == ["spv"]

    play(scenario)


def test_orphans_of_a_fleet_that_nobody_knows_are_left_alone() -> None:
    """It may be the store that has forgotten: one put back to an older state, or another."""

    async def scenario(it: Cluster) -> None:
        await it.scale(20)
        stray = it.agent(7)
        before = stray.told
        stray.orphans = [_orphans("never-heard-of", 5)]
        stray.beat()
        await asyncio.sleep(30)
        assert stray.told == before
        assert host_answers.host_detail(it.leader.reign, "h07").orphans == [stray.orphans[0]]

    play(scenario)


def _orphans(uid: str, birth: int) -> wire.Orphans:
    ranges = [types.IndexRange(start=0, stop=3)]
    return wire.Orphans(fleet_uid=uid, birth=birth, ranges=ranges)


def test_an_orphan_whose_index_another_holds_is_a_duplicate_until_it_is_released() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(20)
        stray = it.agent(19)
        stray.holds_back = True
        stray.orphans = [_orphans(it.status().uid, 5)]
        stray.beat()
        await until(lambda: it.status().duplicates == 3, 10)
        stray.holds_back, stray.orphans = False, []
        stray.beat()
        await until(lambda: it.status().duplicates == 0, 10)

    play(scenario)


# Quarantine


def test_a_host_on_which_many_vms_fail_gets_no_more() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        it.agent(3).problems = [_failing(it, 5, "no_memory")]
        it.agent(3).beat()
        await asyncio.sleep(50)
        assert not it.leader.reign.state.quarantined, "not for a moment's trouble"
        await until(lambda: it.leader.reign.state.quarantined == {"h03"}, 20)
        summary = host_answers.host_summary(it.leader.reign, "h03")
        assert summary.quarantine == "5 of 5 VMs fail, most with no_memory: why"
        assert host_answers.host_counts(it.leader.reign).quarantined == 1
        await it.scale(190)
        assert it.held("h03") == 5, "what it has stays"
        it.agent(3).problems = []
        it.agent(3).beat()
        await asyncio.sleep(100)
        assert it.leader.reign.state.quarantined == {"h03"}, "until somebody lets it out"
        await it.leader.verdicts.release_quarantine("h03", ME)
        await it.scale(195)
        assert it.held("h03") == 10
        assert it.kinds()["host_quarantined"] == it.kinds()["host_released"] == 1

    play(scenario)


def test_what_fails_everywhere_puts_no_host_in_quarantine() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        for number in range(HOSTS):
            it.agent(number).problems = [_failing(it, 5, "image_missing")]
            it.agent(number).beat()
        await asyncio.sleep(300)
        assert not it.leader.reign.state.quarantined

    play(scenario)


def _failing(it: Cluster, count: int, kind: str) -> wire.Problem:
    uid = it.status().uid
    return wire.Problem(kind=kind, fleet_uid=uid, count=count, example_message="why")


def test_verdicts_survive_an_announcement() -> None:
    async def scenario(it: Cluster) -> None:
        it.cut(1)
        await until(lambda: it.leader.reign.links.by_health[Health.LIVE] == HOSTS - 1)
        await it.leader.verdicts.declare_lost(["h01"], True, ME)
        facts = types.HostFacts(incarnation="i2", capacity=types.Capacity(guests=3))
        await it.leader.announcements.announce("h01", "h01:9", facts)
        assert it.lost() == {"h01"}

    play(scenario)


def test_a_store_in_trouble_delays_a_verdict_and_no_more() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        it.cut(3)
        await asyncio.sleep(280)
        it.store.faults = [Fault.REFUSED] * 30
        await until(lambda: it.lost() == {"h03"}, 200)
        await until(lambda: it.status().converged, 60)
        stored = (await it.store.inner.read(keys.HOSTS)).entries
        assert sum(b'"lost":true' in entry.value for entry in stored) == 1

    play(scenario)
