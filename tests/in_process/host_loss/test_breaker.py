"""When too many hosts are gone at once: the breaker of the real leader, on a virtual clock."""

from __future__ import annotations

import asyncio

import pytest

from fleet.v1 import types_pb2 as types
from fleet_controller.leader.environment import LeaderSettings
from fleet_controller.store.memory import MemoryStore
from tests.doubles import answers
from tests.doubles.faulty_store import Fault
from tests.doubles.leading import leading, until
from tests.doubles.obedient_agents import Network
from tests.in_process.host_loss.racks_of_five import LOST_AFTER, ME, UNBOUND, Cluster, now, play
from tests.virtual_loop import virtual


def test_a_rack_that_goes_as_a_whole_is_not_replaced() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        it.cut(0, 1, 2, 3, 4)
        await until(lambda: bool(it.leader.memory.state.breaker.scopes), 400)
        await asyncio.sleep(2_000)
        assert not it.lost() and it.status().placed == 100
        found = answers.status(it.leader).breaker
        assert list(found.scopes) == ["fleet", "rack=r0"]
        assert found.reason.startswith("5 of 20 hosts are gone, more than 20%")
        assert it.leader.absences.waiting == 5
        assert it.kinds()["breaker_opened"] == 1
        it.network.mend()
        await until(lambda: not it.leader.memory.state.breaker.scopes, 60)
        assert not answers.status(it.leader).HasField("breaker")
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
        assert bool(it.leader.memory.state.breaker.scopes) is opens
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
        await until(lambda: bool(it.leader.memory.state.breaker.scopes), 400)
        until_when = await it.leader.verdicts.release_breaker(120, ME)
        assert until_when == pytest.approx(now() + 120, abs=1)
        assert answers.status(it.leader, "").breaker_released_seconds == pytest.approx(120, abs=1)
        await until(lambda: len(it.lost()) == 5, 10)
        await until(lambda: it.status().converged, 10)
        await asyncio.sleep(200)
        assert answers.status(it.leader).breaker_released_seconds == 0
        it.cut(5, 6, 7, 8, 9)
        await until(lambda: bool(it.leader.memory.state.breaker.scopes), 400)

    play(scenario)


@virtual
async def test_an_open_breaker_is_known_to_the_next_leader() -> None:
    store = MemoryStore(asyncio.get_running_loop().time)
    settings = LeaderSettings(settle=5.0, loss=UNBOUND)
    facts = types.HostFacts(incarnation="i", capacity=types.Capacity(guests=5))
    async with leading(store, Network(), settings) as first:
        for name in "abc":
            await first.announcements.announce(name, f"{name}:1", facts)
        await until(lambda: first.memory.state.breaker.scopes == ("fleet",), 400)
        since = first.memory.state.breaker.since
    async with leading(store, Network(), settings) as second:
        for _ in range(60):
            await asyncio.sleep(10)
            assert answers.status(second).breaker.since_unix == since
        assert not second.memory.state.lost
