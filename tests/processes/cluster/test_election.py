"""One leader at a time, from either store, through loss, stall, death and resignation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from fleet_controller.election.election import Election, LeaderLease, LeadershipLost, NameTaken
from fleet_controller.election.process_identity import is_gone, this_process
from fleet_controller.store.etcd.store import EtcdStore
from fleet_controller.store.health import StoreHealth
from fleet_controller.store.keys import LEADER
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import (
    Change,
    Delete,
    Guard,
    Put,
    Snapshot,
    Store,
    StoreReplaced,
    TxnResult,
    Unavailable,
    UnknownOutcome,
)
from tests.processes.etcd_process import EtcdProcess

pytest_plugins = ["tests.processes.etcd_fixtures"]

PATIENCE_SECONDS = 15.0
# Longer than any run: a lease that ended later would raise the revision under another test.
LONG = 3600


@pytest.fixture(params=["memory", "etcd"])
async def store(request: pytest.FixtureRequest, etcd_prefix: str) -> AsyncIterator[Store]:
    made: Store
    if request.param == "memory":
        made = MemoryStore(time.monotonic)
    else:
        server: EtcdProcess = request.getfixturevalue("etcd")
        made = await EtcdStore.connect([server.endpoint], prefix=etcd_prefix)
    yield made
    await made.close()


class Faulty:
    """A store as one replica sees it, through a path of its own that can fail."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.cut = False
        self.lose_answer_of_next_txn = False
        self.replaced = False
        self.kept = 0
        self.after_keep_alive: Callable[[], None] = lambda: None

    @property
    def durable(self) -> bool:
        return self._store.durable

    @property
    def description(self) -> str:
        return self._store.description

    async def _pass(self) -> None:
        if self.replaced:
            raise StoreReplaced("another store")
        if self.cut:
            await asyncio.sleep(0)
            raise Unavailable("cut off")

    async def read(self, prefix: str = "") -> Snapshot:
        await self._pass()
        return await self._store.read(prefix)

    async def txn(self, guards: Sequence[Guard], writes: Sequence[Put | Delete]) -> TxnResult:
        await self._pass()
        result = await self._store.txn(guards, writes)
        if self.lose_answer_of_next_txn:
            self.lose_answer_of_next_txn = False
            raise UnknownOutcome("answer lost")
        return result

    def watch(self, prefix: str, after: int) -> AsyncIterator[tuple[Change, ...]]:
        return self._store.watch(prefix, after)

    async def grant(self, ttl_seconds: int) -> int:
        await self._pass()
        return await self._store.grant(ttl_seconds)

    async def health(self) -> StoreHealth:
        return await self._store.health()

    async def keep_alive(self, lease: int) -> int:
        await self._pass()
        ttl = await self._store.keep_alive(lease)
        self.kept += 1
        self.after_keep_alive()
        return ttl

    async def revoke(self, lease: int) -> None:
        await self._pass()
        await self._store.revoke(lease)

    async def close(self) -> None:
        await self._store.close()


class Replica:
    """One that leads when it can, and tells of its terms."""

    def __init__(
        self, store: Store, name: str, ttl: int = LONG, process: str = "", gone: str = ""
    ) -> None:
        """`gone`: the process that is known to have ended; all are that have no name."""
        self.path = Faulty(store)
        self.clock_ahead = 0.0
        self.election = Election(
            self.path, name, f"{name}:7400", self._now, ttl, process, lambda other: other == gone
        )
        self.terms: list[LeaderLease] = []
        self.cancelled = 0
        self.task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def _now(self) -> float:
        return time.monotonic() + self.clock_ahead

    async def work(self, leadership: LeaderLease) -> None:
        self.terms.append(leadership)
        self._news.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1
            self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def until_leading(self, times: int = 1) -> LeaderLease:
        await self.until(lambda: len(self.terms) >= times and self.cancelled < len(self.terms))
        return self.terms[-1]

    async def until_cancelled(self, times: int = 1) -> None:
        await self.until(lambda: self.cancelled >= times)

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def die(self) -> None:
        """As by SIGKILL: without a word to the store."""
        self.path.cut = True
        await self.stop()


@asynccontextmanager
async def running(*replicas: Replica) -> AsyncIterator[None]:
    for replica in replicas:
        replica.task = asyncio.create_task(replica.election.lead(replica.work))
    try:
        yield
    finally:
        for replica in replicas:
            await replica.stop()


async def eventually(condition: Callable[[], bool]) -> None:
    """For what tells nobody when it changes."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


def leading(*replicas: Replica) -> list[bool]:
    return [replica.election.leadership is not None for replica in replicas]


async def write_as(leadership: LeaderLease, store: Store, key: str) -> bool:
    return (await store.txn([leadership.guard], [Put(key, b"")])).applied


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
        for stopped in range(3):
            await eventually(lambda: sum(leading(*replicas)) == 1)
            await replicas[leading(*replicas).index(True)].stop()
            assert sum(len(replica.terms) for replica in replicas) >= stopped + 1
        await eventually(lambda: sum(leading(*replicas)) == 1)
        terms = [term.term_revision for replica in replicas for term in replica.terms]
        assert len(set(terms)) == len(terms) == 4


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
