"""Writing decisions: whole or not at all, by the leader alone, and never late."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from fleet_controller.core.model import HostRecord, Meta
from fleet_controller.mirror.committer import MAX_WRITES, Committer, Outdated, parts
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store import keys
from fleet_controller.store.codec import encode
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import (
    MAX_TXN_BYTES,
    MAX_TXN_OPS,
    Delete,
    Guard,
    Put,
    Unavailable,
    UnknownOutcome,
)
from tests.doubles.faulty_store import Fault, FaultyStore


class LeaseGone(Exception):
    """What `alive` raises here."""


def host(number: int, address: str = "a:1") -> Put:
    name = f"h{number:04d}"
    return Put(keys.host(name), encode(HostRecord(name, address)))


@dataclass
class Rig:
    store: FaultyStore
    state: ClusterState
    committer: Committer
    alive: bool = True

    async def addresses(self) -> dict[str, str]:
        """What the store holds, read afresh past the faults."""
        mirror = ClusterState()
        mirror.load(await self.store.inner.read())
        return {name: record.address for name, record in mirror.hosts.items()}

    async def by_another(self, *writes: Put | Delete) -> None:
        assert (await self.store.inner.txn([], writes)).applied


async def make() -> Rig:
    inner = MemoryStore(lambda: 0.0)
    term = (await inner.txn([], [Put(keys.LEADER, b"me")])).revision
    await inner.txn([], [Put(keys.META, encode(Meta()))])
    store = FaultyStore(inner)
    state = ClusterState()

    def alive() -> None:
        if not rig.alive:
            raise LeaseGone

    committer = Committer(store, state, Guard(keys.LEADER, create_revision=term), alive)
    rig = Rig(store, state, committer)
    await committer.read_again()
    return rig


# Cutting


def test_parts_hold_as_many_writes_as_a_transaction_has_guards_for() -> None:
    cut = parts([host(i) for i in range(4_480)])
    assert [len(part) for part in cut] == [MAX_WRITES] * 35 + [4_480 - 35 * MAX_WRITES]
    assert MAX_WRITES + 2 == MAX_TXN_OPS


def test_parts_stay_below_the_bytes_of_a_transaction() -> None:
    large = [Put(f"k{i}", bytes(300_000)) for i in range(10)]
    cut = parts(large)
    assert [write for part in cut for write in part] == large
    assert all(
        sum(len(w.value) for w in part if isinstance(w, Put)) < MAX_TXN_BYTES for part in cut
    )
    assert len(cut) == 4


def test_nothing_to_write_is_no_part() -> None:
    assert parts([]) == []


# Writing


async def test_many_writes_take_few_transactions_and_few_at_once() -> None:
    rig = await make()
    await rig.committer.write([host(i) for i in range(1_000)])
    assert rig.committer.transactions == len(rig.store.txns) == -(-1_000 // MAX_WRITES)
    assert rig.store.most_in_flight <= 3
    assert len(await rig.addresses()) == len(rig.state.hosts) == 1_000


async def test_each_transaction_names_the_term_and_what_it_was_decided_from() -> None:
    rig = await make()
    await rig.committer.write([host(1)])
    written = rig.state.mod_revision(keys.host("h0001"))
    await rig.committer.write([host(1, "b:1"), host(2)])
    guards, _ = rig.store.txns[-1]
    assert Guard(keys.LEADER, create_revision=2) in guards
    assert Guard(keys.host("h0001"), mod_revision=written) in guards
    assert Guard(keys.host("h0002"), mod_revision=0) in guards


async def test_a_key_that_another_has_written_makes_the_decision_outdated() -> None:
    rig = await make()
    await rig.committer.write([host(1)])
    await rig.by_another(host(1, "other:1"))
    with pytest.raises(Outdated):
        await rig.committer.write([host(1, "mine:1"), host(2)])
    assert await rig.addresses() == {"h0001": "other:1"}
    assert rig.state.hosts["h0001"].address == "other:1", "the state has been read anew"
    await rig.committer.write([host(1, "mine:1")])
    assert await rig.addresses() == {"h0001": "mine:1"}


async def test_nothing_is_written_once_another_leads() -> None:
    rig = await make()
    await rig.by_another(Delete(keys.LEADER))
    await rig.by_another(Put(keys.LEADER, b"other"))
    with pytest.raises(Outdated):
        await rig.committer.write([host(1)])
    assert await rig.addresses() == {}


async def test_nothing_is_sent_once_the_lease_may_be_gone() -> None:
    rig = await make()
    rig.alive = False
    with pytest.raises(LeaseGone):
        await rig.committer.write([host(1)])
    assert rig.store.txns == []


async def test_what_was_decided_from_an_older_state_is_refused() -> None:
    rig = await make()
    decided_from = rig.state.revision
    rig.committer.refuse_if_past(decided_from)
    await rig.by_another(host(7))
    rig.state.load(await rig.store.read())
    with pytest.raises(Outdated):
        rig.committer.refuse_if_past(decided_from)


# Trouble


async def test_an_answer_lost_after_the_write_is_found_out() -> None:
    rig = await make()
    rig.store.faults = [Fault.ANSWER_LOST]
    await rig.committer.write([host(1), Delete(keys.host("h0009"))])
    assert await rig.addresses() == {"h0001": "a:1"}
    assert rig.state.hosts.keys() == {"h0001"}
    await rig.committer.write([host(1, "b:1")])


async def test_a_request_that_was_lost_is_known_not_to_be_written() -> None:
    rig = await make()
    rig.store.faults = [Fault.REQUEST_LOST]
    with pytest.raises(Unavailable):
        await rig.committer.write([host(1)])
    assert await rig.addresses() == {}
    await rig.committer.write([host(1)])


@pytest.mark.parametrize("fault", [Fault.REQUEST_LOST, Fault.ANSWER_LOST])
async def test_what_is_written_once_more_as_it_is_counts_by_its_revision(fault: Fault) -> None:
    """What is there looks the same whether the write came through or not."""
    rig = await make()
    await rig.committer.write([host(1)])
    first = rig.state.mod_revision(keys.host("h0001"))
    rig.store.faults = [fault]
    if fault is Fault.REQUEST_LOST:
        with pytest.raises(Unavailable):
            await rig.committer.write([host(1)])
        assert rig.state.mod_revision(keys.host("h0001")) == first
    else:
        await rig.committer.write([host(1)])
        assert rig.state.mod_revision(keys.host("h0001")) > first


async def test_a_write_that_arrives_late_changes_nothing_any_more() -> None:
    rig = await make()
    rig.store.faults = [Fault.HELD_BACK]
    with pytest.raises(Unavailable):
        await rig.committer.write([host(1, "late:1")])
    await rig.committer.write([host(2)])
    assert await rig.store.release() == [False]
    assert await rig.addresses() == {"h0002": "a:1"}


async def test_an_outcome_that_cannot_be_asked_for_is_unknown_and_settled_before_more() -> None:
    rig = await make()
    rig.store.faults = [Fault.HELD_BACK]
    rig.store.reads_fail = True
    with pytest.raises(UnknownOutcome):
        await rig.committer.write([host(1, "late:1")])
    rig.store.reads_fail = False
    with pytest.raises(Outdated, match="in doubt"):
        await rig.committer.write([host(2)])
    assert await rig.store.release() == [False]
    await rig.committer.write([host(2)])
    assert await rig.addresses() == {"h0002": "a:1"}


async def test_the_doubt_stays_until_the_store_has_confirmed_that_it_is_over() -> None:
    rig = await make()
    rig.store.faults = [Fault.HELD_BACK, Fault.REFUSED, Fault.ANSWER_LOST]
    with pytest.raises(UnknownOutcome):
        await rig.committer.write([host(1, "late:1")])
    with pytest.raises(UnknownOutcome):
        await rig.committer.write([host(2)])
    for _ in range(2):
        with pytest.raises(Outdated):
            await rig.committer.write([host(2)])
    assert await rig.store.release() == [False]
    await rig.committer.write([host(2)])
    assert await rig.addresses() == {"h0002": "a:1"}


async def test_a_writer_that_gave_up_waiting_leaves_a_doubt_too() -> None:
    rig = await make()
    rig.store.faults = [Fault.STUCK]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await rig.committer.write([host(1)])
    with pytest.raises(Outdated, match="in doubt"):
        await rig.committer.write([host(2)])
    await rig.committer.write([host(2)])
    assert await rig.addresses() == {"h0002": "a:1"}


async def test_one_failure_among_many_transactions_abandons_none_that_was_sent() -> None:
    rig = await make()
    rig.store.faults = [None, Fault.REFUSED, None]
    with pytest.raises(Unavailable, match="full"):
        await rig.committer.write([host(i) for i in range(10 * MAX_WRITES)])
    stored = await rig.addresses()
    assert 0 < len(stored) < 10 * MAX_WRITES
    assert stored.keys() == rig.state.hosts.keys(), "the mirror knows what was applied"


async def test_different_failures_at_once_come_as_one_error() -> None:
    rig = await make()
    await rig.by_another(host(MAX_WRITES, "other:1"))
    rig.store.faults = [Fault.REFUSED]
    with pytest.raises((Unavailable, Outdated)):
        await rig.committer.write([host(i) for i in range(3 * MAX_WRITES)])
