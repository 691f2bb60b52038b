"""Hosts that are declared lost, and what replaces them: the real leader on a virtual clock."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.core.host_loss.loss import LossSettings
from fleet_controller.core.model import Health
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.leader.environment import LeaderSettings
from fleet_controller.queries import hosts as host_queries
from fleet_controller.store import keys
from fleet_controller.store.memory import MemoryStore
from tests.doubles import answers
from tests.doubles.faulty_store import Fault
from tests.doubles.leading import leading, until
from tests.doubles.obedient_agents import Network
from tests.in_process.host_loss.racks_of_five import (
    HOSTS,
    LOST_AFTER,
    ME,
    UNBOUND,
    Cluster,
    now,
    play,
    spec,
)
from tests.virtual_loop import virtual


def test_only_a_lost_host_is_replaced() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        it.cut(3)
        cut_at = now()
        await until(lambda: it.leader.memory.links.by_health[Health.SUSPECT] == 1)
        assert it.held("h03") == 5, "suspect, and its VMs stay its own"
        await until(lambda: it.lost() == {"h03"}, 400)
        assert LOST_AFTER - 10 <= now() - cut_at <= LOST_AFTER + 30
        await until(lambda: it.status().converged, 5)
        assert it.held("h03") == 0
        assert host_queries.host_counts(it.leader.memory).lost == 1
        assert answers.host_summary(it.leader, "h03").health == cluster.HOST_HEALTH_LOST
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
        await until(lambda: it.leader.memory.links.by_health[Health.LIVE] == HOSTS - 5)
        began = now()
        await it.leader.verdicts.declare_lost(names, True, ME)
        assert it.lost() == set(names)
        await until(lambda: it.status().converged, 8)
        assert now() - began < 3
        assert it.leader.memory.state.breaker.scopes == ()

    play(scenario, LossSettings(lost_after=LOST_AFTER, budget=1))


def test_each_verdict_is_in_the_history_by_who_gave_it() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        it.cut(1, 3)
        await until(lambda: it.leader.memory.links.by_health[Health.LIVE] == HOSTS - 2)
        await it.leader.verdicts.declare_lost(["h01"], True, ME)
        await until(lambda: it.lost() == {"h01", "h03"}, 400)
        it.network.mend()
        await until(lambda: not it.lost(), 60)
        audit = it.leader.memory.state.audit
        told = [(one.action, one.actor) for one in audit.page("", "h01", 0, 10)[0]]
        assert told == [("host_returned", "leader"), ("declare_lost", ME)]
        (back, lost) = audit.page("", "h03", 0, 10)[0]
        assert (back.action, lost.action, lost.actor) == ("host_returned", "declare_lost", "leader")
        assert lost.after == "no word for 300 s"

    play(scenario)


def test_a_live_host_cannot_be_declared_lost() -> None:
    async def scenario(it: Cluster) -> None:
        it.cut(1)
        await until(lambda: it.leader.memory.links.by_health[Health.LIVE] == HOSTS - 1)
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
        await until(lambda: it.leader.memory.links.by_health[Health.LIVE] == 1)
        await it.leader.verdicts.declare_lost(["h01"], True, ME)
        with pytest.raises(Refused, match="do not fit: 10 would"):
            await it.leader.fleets.scale("spv", 11, ME)

    play(scenario)


def test_vms_of_a_fleet_that_waits_stay_where_they_are() -> None:
    async def scenario(it: Cluster) -> None:
        await it.leader.fleets.apply("web", spec(types.ON_LOSS_WAIT), ME)
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
            times.append(now())
        gaps = [after - before for before, after in pairwise(times)]
        assert all(28 <= gap <= 32 for gap in gaps[1:]), gaps

    play(scenario, LossSettings(lost_after=LOST_AFTER, budget=2, fleet_share=1))


@virtual
async def test_after_a_failover_silence_counts_from_its_beginning() -> None:
    """The clock of a new leader is its own: nobody is lost sooner than after the full time."""
    store = MemoryStore(asyncio.get_running_loop().time)
    network = Network()
    settings = LeaderSettings(settle=5.0, loss=UNBOUND)
    facts = types.HostFacts(incarnation="i", capacity=types.Capacity(guests=5))
    async with leading(store, network, settings) as first:
        await first.announcements.announce("a", "a:1", facts)
        await asyncio.sleep(LOST_AFTER - 20)
        assert not first.memory.state.lost
    async with leading(store, network, settings) as second:
        began = now()
        await until(lambda: second.memory.state.lost == {"a"}, 400)
        assert now() - began >= LOST_AFTER - 2


@pytest.mark.parametrize("failing", range(4))
def test_an_index_is_never_in_two_assignments_whichever_write_fails(failing: int) -> None:
    """The assignments of many lost hosts and of those that take over do not fit one transaction."""

    async def scenario(it: Cluster) -> None:
        await it.scale(600)
        await _check_one_holder(it)
        lost = [f"h{n:02}" for n in range(150)]
        it.cut(*range(150))
        await until(lambda: it.leader.memory.links.by_health[Health.LIVE] == 150)
        await it.leader.verdicts.declare_lost(lost, True, ME)
        it.store.faults = [*[None] * failing, Fault.REFUSED, Fault.ANSWER_LOST, Fault.REQUEST_LOST]
        while not it.status().converged:
            await _check_one_holder(it)
            await asyncio.sleep(0.05)
        assert it.status().placed == 600 and sum(map(it.held, lost)) == 0

    play(scenario, hosts=300, guests=4)


async def _check_one_holder(it: Cluster) -> None:
    records = [
        it.leader.memory.state.assignments[host] for host in it.leader.memory.state.assignments
    ]
    counts = Counter(i for one in records for shard in one.shards for i in shard.ranges)
    assert not counts or max(counts.values()) == 1


def test_verdicts_survive_an_announcement() -> None:
    async def scenario(it: Cluster) -> None:
        it.cut(1)
        await until(lambda: it.leader.memory.links.by_health[Health.LIVE] == HOSTS - 1)
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
