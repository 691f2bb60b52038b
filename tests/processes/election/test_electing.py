"""One leader at a time, from either store, through resignation, death and a shared name."""

from __future__ import annotations

import pytest

from fleet_controller.election.election import LeadershipLost, NameTaken
from fleet_controller.election.process_identity import is_gone, this_process
from fleet_controller.store.keys import LEADER
from fleet_controller.store.port import Delete, Put, Store
from tests.processes.election.replicas import Replica, eventually, leading, running, write_as

pytest_plugins = ["tests.processes.etcd_fixtures"]


async def test_one_of_two_leads_and_both_know_which(store: Store) -> None:
    one, two = Replica(store, "one"), Replica(store, "two")
    async with running(one):
        leadership = await one.until_leading()
        async with running(two):
            await eventually(lambda: two.election.current_leader() is not None)
            assert one.election.current_leader() == ("one", "one:7400")
            assert two.election.current_leader() == ("one", "one:7400")
            assert two.terms == []
            assert two.election.leadership is None
            assert one.election.leadership is leadership
    assert (await store.read(LEADER)).entries == ()


async def test_the_term_is_the_revision_that_made_the_key(store: Store) -> None:
    one = Replica(store, "one")
    async with running(one):
        leadership = await one.until_leading()
        (entry,) = (await store.read(LEADER)).entries
        assert leadership.term_revision == entry.create_revision
        assert leadership.valid()
        leadership.raise_if_lost()
        assert await write_as(leadership, store, "x")


async def test_a_standby_takes_over_at_once_when_the_leader_resigns(store: Store) -> None:
    """The lease would live for an hour: nothing waits for it."""
    one, two = Replica(store, "one"), Replica(store, "two")
    async with running(one):
        first = await one.until_leading()
        async with running(two):
            await one.stop()
            assert one.cancelled == 1
            second = await two.until_leading()
            assert second.term_revision > first.term_revision
            assert not first.valid()
            with pytest.raises(LeadershipLost, match="resigned"):
                first.raise_if_lost()
            assert not await write_as(first, store, "x")
            assert two.election.current_leader() == ("two", "two:7400")


async def test_a_standby_takes_over_when_the_lease_of_a_dead_leader_ends(store: Store) -> None:
    one, two = Replica(store, "one", ttl=1), Replica(store, "two", ttl=1)
    async with running(one):
        first = await one.until_leading()
        async with running(two):
            await one.die()
            second = await two.until_leading()
            assert second.term_revision > first.term_revision
            assert not await write_as(first, store, "x")


async def test_a_replica_started_again_does_not_wait_for_its_own_old_lease(store: Store) -> None:
    one = Replica(store, "one")
    async with running(one):
        first = await one.until_leading()
        await one.die()
        again = Replica(store, "one")
        async with running(again):
            second = await again.until_leading()
            assert second.term_revision > first.term_revision
            assert not await write_as(first, store, "x")


async def test_a_second_replica_of_the_leaders_name_deposes_nobody_and_is_told(
    store: Store,
) -> None:
    one = Replica(store, "one", ttl=1, process="p1")
    async with running(one):
        first = await one.until_leading()
        namesake = Replica(store, "one", ttl=1, process="p2", gone="p0")
        with pytest.raises(ExceptionGroup) as ended:
            await namesake.election.lead(namesake.work)
        assert ended.group_contains(NameTaken, match="another controller named one leads, at one:7")
        assert first.valid() and not one.cancelled and not namesake.terms


async def test_a_replica_takes_back_the_lease_of_its_own_process_that_is_gone(
    store: Store,
) -> None:
    one = Replica(store, "one", process="p1")
    async with running(one):
        first = await one.until_leading()
        await one.die()
        again = Replica(store, "one", process="p2", gone="p1")
        async with running(again):
            assert (await again.until_leading()).term_revision > first.term_revision


def test_processes_are_told_apart() -> None:
    own = this_process()
    assert own.count("/") == 2 and not is_gone(own)
    around, pid, started = own.split("/")
    assert is_gone(f"{around}/{pid}/{int(started) - 1}"), "another one had this pid before"
    assert is_gone(f"{around}/{2**22 + 1}/1"), "there is no such pid"
    assert not is_gone(f"another boot/{2**22 + 1}/1"), "it is elsewhere"
    assert is_gone(""), "an older release says nothing of it"
    assert not is_gone("rubbish")


async def test_two_replicas_by_one_name_do_not_take_turns(store: Store) -> None:
    """The second ends the first's term when it starts; whoever wins then stays."""
    one, twin = Replica(store, "one"), Replica(store, "one")
    async with running(one):
        await one.until_leading()
        async with running(twin):
            await one.until_cancelled()
            await eventually(lambda: len(one.terms) + len(twin.terms) == 2)
            revision = (await store.read()).revision
            for _ in range(50):
                assert (await store.read()).revision == revision
            assert len(one.terms) + len(twin.terms) == 2


async def test_a_lost_answer_to_the_campaign_is_looked_up(store: Store) -> None:
    one = Replica(store, "one")
    one.path.lose_answer_of_next_txn = True
    before = (await store.read()).revision
    async with running(one):
        leadership = await one.until_leading()
        assert leadership.term_revision == before + 1, "it campaigned again"
        assert await write_as(leadership, store, "x")


async def test_an_unavailable_store_is_waited_for(store: Store) -> None:
    one = Replica(store, "one")
    one.path.cut = True
    async with running(one):
        await eventually(lambda: one.task is not None and not one.task.done())
        one.path.cut = False
        await one.until_leading()


async def test_a_leader_writes_nothing_to_stay_one(store: Store) -> None:
    one = Replica(store, "one", ttl=1)
    async with running(one):
        await one.until_leading()
        before = (await store.read()).revision
        await eventually(lambda: one.path.kept >= 4)
        assert (await store.read()).revision == before
        assert one.cancelled == 0


async def test_a_foreign_value_in_the_key_names_nobody_and_is_waited_for(store: Store) -> None:
    await store.txn([], [Put(LEADER, b"\xff not json")])
    one = Replica(store, "one")
    async with running(one):
        await eventually(lambda: one.election.current_leader() == ("", ""))
        assert one.terms == []
        await store.txn([], [Delete(LEADER)])
        await one.until_leading()


async def test_of_many_standbys_one_succeeds(store: Store) -> None:
    replicas = [Replica(store, f"r{number}") for number in range(8)]
    async with running(*replicas):
        for term in range(1, 5):
            await eventually(lambda: sum(leading(*replicas)) == 1)
            leader = replicas[leading(*replicas).index(True)]
            await leader.until_leading()  # and at work, which begins in a later turn
            if term < 4:
                await leader.stop()
        terms = [term.term_revision for replica in replicas for term in replica.terms]
        assert len(set(terms)) == len(terms) == 4
