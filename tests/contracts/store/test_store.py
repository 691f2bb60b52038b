"""What every adapter of the Store port promises, asked of etcd and of the one in memory alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from fleet_controller.store.etcd.store import EtcdStore
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import (
    MAX_TXN_BYTES,
    MAX_TXN_OPS,
    Compacted,
    Delete,
    Guard,
    InvalidTransaction,
    LeaseLost,
    Put,
    StoreReplaced,
    Unavailable,
)
from tests.contracts.store.store_watching import watching
from tests.processes.etcd_process import EtcdProcess

pytest_plugins = ["tests.processes.etcd_fixtures"]

# Longer than any run: a lease that ended later would raise the revision under another test.
LONG = 3600

AnyStore = EtcdStore | MemoryStore


@pytest.fixture(params=["memory", "etcd"])
async def store(request: pytest.FixtureRequest, etcd_prefix: str) -> AsyncIterator[AnyStore]:
    made: AnyStore
    if request.param == "memory":
        made = MemoryStore(time.monotonic)
    else:
        server: EtcdProcess = request.getfixturevalue("etcd")
        made = await EtcdStore.connect([server.endpoint], prefix=etcd_prefix)
    yield made
    await made.close()


async def put(store: AnyStore, *keys: str, value: bytes = b"x") -> int:
    result = await store.txn([], [Put(key, value) for key in keys])
    assert result.applied
    return result.revision


# Reading


async def test_an_empty_store_has_a_revision_and_no_entries(store: AnyStore) -> None:
    snapshot = await store.read()
    assert snapshot.entries == ()
    assert snapshot.revision > 0
    assert snapshot.cluster


async def test_a_prefix_selects_and_keys_come_sorted(store: AnyStore) -> None:
    await put(store, "hosts/b", "hosts/a", "hostsx", "fleets/a", "hosts/ä", "hosts/c")
    snapshot = await store.read("hosts/")
    assert [entry.key for entry in snapshot.entries] == [
        "hosts/a",
        "hosts/b",
        "hosts/c",
        "hosts/ä",
    ]


async def test_an_entry_remembers_its_creation_and_its_last_write(store: AnyStore) -> None:
    created = await put(store, "a", value=b"1")
    written = await put(store, "a", value=b"\x00\xff")
    (entry,) = (await store.read("a")).entries
    assert (entry.value, entry.create_revision, entry.mod_revision) == (
        b"\x00\xff",
        created,
        written,
    )


async def test_a_key_made_again_is_a_new_one(store: AnyStore) -> None:
    first = await put(store, "a")
    await store.txn([], [Delete("a")])
    second = await put(store, "a")
    (entry,) = (await store.read()).entries
    assert entry.create_revision == second > first


# Transactions


async def test_a_txn_raises_the_revision_by_one_whatever_it_writes(store: AnyStore) -> None:
    before = (await store.read()).revision
    after = await put(store, "a", "b", "c")
    snapshot = await store.read()
    assert after == snapshot.revision == before + 1
    assert {entry.mod_revision for entry in snapshot.entries} == {after}


async def test_deleting_what_is_absent_changes_nothing(store: AnyStore) -> None:
    before = (await store.read()).revision
    result = await store.txn([], [Delete("nowhere")])
    assert result.applied
    assert result.revision == before == (await store.read()).revision


async def test_a_guard_on_an_absent_key(store: AnyStore) -> None:
    for guard in (Guard("a", mod_revision=0), Guard("a", create_revision=0)):
        assert (await store.txn([guard], [Put("a", b"1")])).applied
        assert not (await store.txn([guard], [Put("a", b"2")])).applied
        assert [entry.value for entry in (await store.read()).entries] == [b"1"]
        await store.txn([], [Delete("a")])


async def test_a_guard_on_the_last_write_fails_after_another(store: AnyStore) -> None:
    planned_from = await put(store, "a")
    guard = Guard("a", mod_revision=planned_from)
    assert (await store.txn([guard], [Put("a", b"mine")])).applied
    assert not (await store.txn([guard], [Put("a", b"late")])).applied


async def test_a_guard_on_creation_outlives_writes_but_not_the_key(store: AnyStore) -> None:
    term = await put(store, "leader")
    guard = Guard("leader", create_revision=term)
    await put(store, "leader", value=b"renewed")
    assert (await store.txn([guard], [Put("x", b"")])).applied
    await store.txn([], [Delete("leader")])
    await put(store, "leader")
    assert not (await store.txn([guard], [Put("x", b"late")])).applied


async def test_one_guard_that_fails_stops_all_writes(store: AnyStore) -> None:
    revision = await put(store, "a")
    guards = [Guard("a", mod_revision=revision), Guard("b", mod_revision=revision)]
    result = await store.txn(guards, [Put("a", b"new"), Delete("a2"), Put("c", b"")])
    assert (result.applied, result.revision) == (False, revision)
    assert [entry.key for entry in (await store.read()).entries] == ["a"]


async def test_a_full_txn_is_taken(store: AnyStore) -> None:
    keys = [f"assignments/{number:04}" for number in range(MAX_TXN_OPS)]
    value = b"v" * (MAX_TXN_BYTES // MAX_TXN_OPS - 64)
    guards = [Guard(key, mod_revision=0) for key in keys]
    assert (await store.txn(guards, [Put(key, value) for key in keys])).applied
    snapshot = await store.read("assignments/")
    assert [entry.key for entry in snapshot.entries] == keys


@pytest.mark.parametrize(
    ("guards", "writes", "says"),
    [
        ([], [Put(f"k{n}", b"") for n in range(MAX_TXN_OPS + 1)], "129 writes"),
        ([Guard("a", mod_revision=0)] * (MAX_TXN_OPS + 1), [], "129 guards"),
        ([], [Put("a", bytes(MAX_TXN_BYTES))], "1000001 bytes"),
        ([], [Put("a", b""), Delete("a")], "'a' is written twice"),
        ([], [Put("", b"")], "empty key"),
        ([Guard("a")], [], "must name one"),
        ([Guard("a", mod_revision=1, create_revision=1)], [], "must name one"),
    ],
)
async def test_what_no_txn_may_be(
    store: AnyStore, guards: list[Guard], writes: list[Put | Delete], says: str
) -> None:
    before = (await store.read()).revision
    with pytest.raises(InvalidTransaction, match=says):
        await store.txn(guards, writes)
    assert (await store.read()).revision == before


# Watches


async def test_a_watch_tells_each_change_once_and_in_order(store: AnyStore) -> None:
    start = (await store.read()).revision
    async with watching(store, "", start) as seen:
        first = await put(store, "a", value=b"1")
        second = await put(store, "a", value=b"2")
        third = (await store.txn([], [Delete("a")])).revision
        fourth = await put(store, "a", value=b"3")
        await seen.until(lambda: len(seen.changes) >= 4)
    told = [(c.value, c.create_revision, c.mod_revision) for c in seen.changes]
    assert told == [
        (b"1", first, first),
        (b"2", first, second),
        (None, 0, third),
        (b"3", fourth, fourth),
    ]


async def test_a_watch_starts_after_its_revision(store: AnyStore) -> None:
    await put(store, "before")
    revision = await put(store, "at")
    await put(store, "past")
    async with watching(store, "", revision) as seen:
        await put(store, "end")
        await seen.until_key("end")
    assert seen.keys == ["past", "end"]


async def test_a_watch_sees_its_prefix_alone(store: AnyStore) -> None:
    start = (await store.read()).revision
    async with watching(store, "hosts/", start) as seen:
        await put(store, "fleets/a", "hosts/a", "hosts")
        await put(store, "fleets/b")
        await put(store, "hosts/b")
        await seen.until_key("hosts/b")
    assert seen.keys == ["hosts/a", "hosts/b"]


async def test_no_batch_splits_a_txn(store: AnyStore) -> None:
    """Neither what comes live nor a backlog of several megabytes that etcd sends in fragments."""
    start = (await store.read()).revision
    keys = [f"k{number:03}" for number in range(MAX_TXN_OPS)]
    value = bytes(MAX_TXN_BYTES // MAX_TXN_OPS - 16)
    async with watching(store, "", start) as live:
        for _ in range(4):
            await put(store, *keys, value=value)
        last = await put(store, "end")
        await live.until_key("end")
    async with watching(store, "", start) as backlog:
        await backlog.until_key("end")
    for seen in (live, backlog):
        ends = [{change.mod_revision for change in batch} for batch in seen.batches]
        assert sum(map(len, ends)) == len(set.union(*ends)), "a revision in two batches"
        revisions = [change.mod_revision for change in seen.changes]
        assert revisions == sorted(revisions)
        assert len(seen.changes) == 4 * MAX_TXN_OPS + 1
    assert live.changes == backlog.changes
    assert live.changes[-1].mod_revision == last


async def test_two_watches_each_see_all(store: AnyStore) -> None:
    start = (await store.read()).revision
    async with watching(store, "", start) as one, watching(store, "", start) as other:
        await put(store, "a", "b")
        await put(store, "end")
        await one.until_key("end")
        await other.until_key("end")
    assert one.keys == other.keys == ["a", "b", "end"]


async def test_a_watch_behind_a_compaction_says_so(store: AnyStore) -> None:
    old = await put(store, "a")
    await put(store, "a")
    head = await put(store, "a")
    await store.compact(head)
    async with watching(store, "", old) as seen:
        await seen.until_ended()
    assert isinstance(seen.error, Compacted)
    assert old < seen.error.revision <= head
    assert seen.batches == []


async def test_a_watch_one_short_of_a_compaction_does_not_miss_its_deletion(
    store: AnyStore,
) -> None:
    """etcd drops the deletion made at the very revision that it is compacted to."""
    before = await put(store, "a")
    gone = (await store.txn([], [Delete("a")])).revision
    await store.compact(gone)
    async with watching(store, "", before) as seen:
        await seen.until_ended()
    assert isinstance(seen.error, Compacted)


async def test_a_watch_at_or_ahead_of_a_compaction_goes_on(store: AnyStore) -> None:
    await put(store, "a")
    head = await put(store, "a")
    async with watching(store, "", head) as running:
        await store.compact(head)
        async with watching(store, "", head) as started:
            await put(store, "end")
            await running.until_key("end")
            await started.until_key("end")
    assert running.keys == started.keys == ["end"]


async def test_a_watch_from_a_revision_to_come_means_another_store(store: AnyStore) -> None:
    future = (await store.read()).revision + 1_000_000
    async with watching(store, "", future) as seen:
        await seen.until_ended()
    assert isinstance(seen.error, StoreReplaced)


async def test_closing_ends_watches_and_refuses_calls(store: AnyStore) -> None:
    revision = await put(store, "a")
    async with watching(store, "", revision - 1) as seen:
        await seen.until_key("a")
        await store.close()
        await seen.until_ended()
    assert seen.completed
    with pytest.raises(Unavailable, match="closed"):
        await store.read()
    with pytest.raises(Unavailable, match="closed"):
        await store.txn([], [Put("a", b"")])


# Leases


async def test_keys_go_with_the_lease_that_expires(store: AnyStore) -> None:
    lease = await store.grant(1)
    assert lease
    result = await store.txn([], [Put("bound", b"", lease), Put("bound2", b"", lease)])
    await put(store, "free")
    async with watching(store, "", result.revision) as seen:
        await seen.until(lambda: seen.keys.count("bound2") == 1)
    gone = [change for change in seen.changes if change.value is None]
    assert [change.key for change in gone] == ["bound", "bound2"]
    assert len({change.mod_revision for change in gone}) == 1
    assert [entry.key for entry in (await store.read()).entries] == ["free"]
    with pytest.raises(LeaseLost):
        await store.keep_alive(lease)


async def test_a_lease_kept_alive_outlives_one_that_is_not(store: AnyStore) -> None:
    kept, left = await store.grant(1), await store.grant(1)
    result = await store.txn([], [Put("kept", b"", kept), Put("left", b"", left)])
    async with watching(store, "left", result.revision) as seen:
        expiry = asyncio.create_task(seen.until_key("left"))
        while not expiry.done():
            assert await store.keep_alive(kept) == 1
            await asyncio.wait([expiry], timeout=0.25)
    assert [entry.key for entry in (await store.read()).entries] == ["kept"]
    await store.revoke(kept)


async def test_keeping_alive_writes_nothing(store: AnyStore) -> None:
    lease = await store.grant(LONG)
    await store.txn([], [Put("bound", b"", lease)])
    before = (await store.read()).revision
    assert await store.keep_alive(lease) == LONG
    assert (await store.read()).revision == before


async def test_keys_go_with_a_revoked_lease(store: AnyStore) -> None:
    lease = await store.grant(LONG)
    await store.txn([], [Put("bound", b"", lease), Put("free", b"")])
    await store.revoke(lease)
    assert [entry.key for entry in (await store.read()).entries] == ["free"]
    with pytest.raises(LeaseLost):
        await store.keep_alive(lease)


async def test_a_key_written_without_its_lease_stays(store: AnyStore) -> None:
    lease = await store.grant(LONG)
    await store.txn([], [Put("a", b"", lease)])
    await put(store, "a")
    await store.revoke(lease)
    assert [entry.key for entry in (await store.read()).entries] == ["a"]


async def test_revoking_what_is_gone_is_no_error(store: AnyStore) -> None:
    lease = await store.grant(LONG)
    await store.revoke(lease)
    await store.revoke(lease)


async def test_writing_on_a_lease_that_is_gone_writes_nothing(store: AnyStore) -> None:
    lease = await store.grant(LONG)
    await store.revoke(lease)
    before = (await store.read()).revision
    with pytest.raises(LeaseLost):
        await store.txn([], [Put("free", b""), Put("bound", b"", lease)])
    snapshot = await store.read()
    assert (snapshot.revision, snapshot.entries) == (before, ())


# Health


async def test_a_store_that_is_well_has_no_troubles(store: AnyStore) -> None:
    health = await store.health()
    assert health.troubles() == [] and health.states() == {}
    assert health.read_seconds is not None
    assert all(member.seconds > 0 and member.used > 0 for member in health.members)


async def test_asking_how_it_is_changes_no_revision(store: AnyStore) -> None:
    before = (await store.read()).revision
    await store.health()
    assert (await store.read()).revision == before
