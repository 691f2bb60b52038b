"""Hosts that were lost and return, and what they still have: the real leader on a virtual clock."""

from __future__ import annotations

import asyncio

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.port import Declined
from fleet_controller.core.model import Health
from tests.doubles import answers
from tests.doubles.leading import until
from tests.in_process.host_loss.racks_of_five import HOSTS, LOST_AFTER, ME, Cluster, play, spec


def test_a_host_that_returns_gives_up_what_moved_and_shows_no_duplicates_then() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        it.cut(3)
        await until(lambda: it.lost() == {"h03"}, 400)
        await until(lambda: it.status().converged, 5)
        assert it.status().duplicates == 5, "it may be running them still"
        assert answers.host_summary(it.leader, "h03").duplicates == 5
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
        await until(lambda: it.leader.memory.links.by_health[Health.LIVE] == HOSTS)
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


def test_a_fleet_deleted_and_made_again_while_a_host_was_away_takes_nothing_of_the_old() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        old = it.status().uid
        it.cut(3)
        await until(lambda: it.lost() == {"h03"}, 400)
        await until(lambda: it.status().converged, 5)
        await it.leader.fleets.delete("spv", ME)
        await until(lambda: "spv" not in it.leader.memory.state.fleets, 60)
        await it.leader.fleets.apply("spv", spec(), ME)
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
        await it.leader.fleets.delete("spv", ME)
        await until(lambda: "spv" not in it.leader.memory.state.fleets, 60)
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
        assert answers.host_detail(it.leader, "h07").orphans == [stray.orphans[0]]

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
