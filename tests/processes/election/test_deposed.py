"""What a leader may no longer do, and when it knows: after loss, stall, sleep and giving up."""

from __future__ import annotations

import asyncio
import time

import pytest

from fleet_controller.election.election import Election, LeaderLease, LeadershipLost
from fleet_controller.store.etcd.store import EtcdStore
from fleet_controller.store.keys import LEADER
from fleet_controller.store.port import Delete, Store, StoreReplaced
from tests.processes.election.replicas import (
    LONG,
    PATIENCE_SECONDS,
    Replica,
    eventually,
    running,
    write_as,
)
from tests.processes.etcd_process import EtcdProcess

pytest_plugins = ["tests.processes.etcd_fixtures"]


async def test_a_stalled_leader_is_invalid_before_another_can_lead(store: Store) -> None:
    """Its keep-alives fail; the other may lead only when the first has stopped working."""
    one, two = Replica(store, "one", ttl=1), Replica(store, "two", ttl=1)
    async with running(one):
        first = await one.until_leading()
        async with running(two):
            await eventually(lambda: one.path.kept >= 2)
            one.path.cut = True
            await two.until_leading()
            assert not first.valid()
            assert one.cancelled == 1
            assert one.election.leadership is None
            one.path.cut = False
            await eventually(lambda: one.election.current_leader() == ("two", "two:7400"))


async def test_a_leader_whose_machine_slept_knows_without_being_told(store: Store) -> None:
    one = Replica(store, "one", ttl=LONG)
    async with running(one):
        leadership = await one.until_leading()
        one.clock_ahead = LONG - 1.0
        assert leadership.valid()
        one.clock_ahead = LONG
        assert not leadership.valid()
        one.clock_ahead = 0.0
        assert not leadership.valid(), "once lost, a term does not come back"


async def test_the_deadline_counts_from_when_the_keep_alive_was_sent(store: Store) -> None:
    """An answer that takes one of the lease's two seconds leaves one."""
    one = Replica(store, "one", ttl=2)

    def answer_late() -> None:
        one.clock_ahead += 1.0
        one.path.after_keep_alive = lambda: None

    one.path.after_keep_alive = answer_late
    async with running(one):
        leadership = await one.until_leading()
        await eventually(lambda: one.clock_ahead > 0)
        assert leadership.seconds_left() <= 1.0


async def test_work_is_cancelled_when_the_lease_is_revoked(store: Store) -> None:
    one = Replica(store, "one", ttl=LONG)
    async with running(one):
        first = await one.until_leading()
        await store.revoke(first.lease)
        await one.until_cancelled()
        second = await one.until_leading(2)
        assert second.term_revision > first.term_revision


async def test_work_is_cancelled_when_the_key_is_deleted_by_hand(store: Store) -> None:
    one = Replica(store, "one", ttl=LONG)
    async with running(one):
        first = await one.until_leading()
        await store.txn([], [Delete(LEADER)])
        await one.until_cancelled()
        assert not first.valid()
        assert (await one.until_leading(2)).term_revision > first.term_revision


async def test_a_leader_that_finds_its_own_key_again_begins_a_new_term(store: Store) -> None:
    """The store comes back before the old lease ends there: no need to wait for it."""
    one = Replica(store, "one", ttl=1)
    async with running(one):
        first = await one.until_leading()
        one.clock_ahead = 1.0
        await one.until_cancelled()
        assert (await one.until_leading(2)).term_revision > first.term_revision


async def test_work_that_ends_resigns(store: Store) -> None:
    async def short(leadership: LeaderLease) -> None:
        leadership.raise_if_lost()

    election = Election(store, "one", "one:7400", time.monotonic, LONG)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await election.lead(short)
    assert (await store.read(LEADER)).entries == ()
    assert election.leadership is None


async def test_work_that_gives_up_its_term_campaigns_again(store: Store) -> None:
    one = Replica(store, "one")

    async def give_up_once(leadership: LeaderLease) -> None:
        one.terms.append(leadership)
        if len(one.terms) == 1:
            raise LeadershipLost("an agent has heard a newer leader")

    async with asyncio.timeout(PATIENCE_SECONDS):
        await one.election.lead(give_up_once)
    assert one.terms[0].term_revision < one.terms[1].term_revision
    assert not one.terms[0].valid()


async def test_work_whose_tasks_give_up_its_term_campaigns_again(store: Store) -> None:
    """A group whose own code has ended marks its task as cancelled when a member fails."""
    one = Replica(store, "one")

    async def give_up() -> None:
        await asyncio.sleep(0)
        raise LeadershipLost("its lease was not renewed in time")

    async def give_up_once(leadership: LeaderLease) -> None:
        one.terms.append(leadership)
        if len(one.terms) == 1:
            async with asyncio.TaskGroup() as group:
                group.create_task(give_up())

    async with asyncio.timeout(PATIENCE_SECONDS):
        await one.election.lead(give_up_once)
    assert one.terms[0].term_revision < one.terms[1].term_revision


@pytest.mark.parametrize("failing", ["work", "store"])
async def test_what_cannot_be_retried_ends_the_election(store: Store, failing: str) -> None:
    one = Replica(store, "one")

    async def work(leadership: LeaderLease) -> None:
        if failing == "work":
            raise ZeroDivisionError
        one.path.replaced = True
        raise LeadershipLost("let it campaign again")

    expected: type[Exception] = ZeroDivisionError if failing == "work" else StoreReplaced
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await one.election.lead(work)
    assert caught.value.subgroup(expected) is not None


async def test_it_leads_again_after_etcd_was_killed(own_etcd: EtcdProcess) -> None:
    """The lease outlives the server; the term goes on, or a higher one begins."""
    store = await EtcdStore.connect([own_etcd.endpoint], deadline=2.0)
    one = Replica(store, "one", ttl=2)
    try:
        async with running(one):
            first = await one.until_leading()
            own_etcd.kill()
            await one.until_cancelled()
            assert not first.valid()
            await asyncio.to_thread(own_etcd.start)
            second = await one.until_leading(2)
            assert second.term_revision > first.term_revision
            assert not await write_as(first, store, "x")
            assert await write_as(second, store, "x")
    finally:
        await store.close()
