"""What only a store behind a network has: servers that die, stall, fill up or are replaced."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fleet.transport import Identity, Role
from fleet_controller.store.etcd import member
from fleet_controller.store.etcd.members import Members
from fleet_controller.store.etcd.store import PAGE_KEYS, EtcdStore
from fleet_controller.store.etcd.watch import EtcdWatch
from fleet_controller.store.etcd.wire import Keyspace
from fleet_controller.store.port import (
    MAX_TXN_OPS,
    Compacted,
    Full,
    Put,
    StoreError,
    StoreReplaced,
    TxnResult,
    Unavailable,
    UnknownOutcome,
)
from fleetctl.local.certificate_authority import Authority
from tests.certificates import authority
from tests.contracts.store.store_proxy import wire_to
from tests.contracts.store.store_watching import PATIENCE_SECONDS, observing, watching
from tests.processes.etcd_process import EtcdProcess, EtcdTls, free_ports

pytest_plugins = ["tests.processes.etcd_fixtures"]

# What a busy machine may add to any time stated here.
BUSY_SECONDS = 5.0


@asynccontextmanager
async def connected(
    *endpoints: str, prefix: str = "/test/", identity: Identity | None = None, deadline: float = 5.0
) -> AsyncIterator[EtcdStore]:
    store = await EtcdStore.connect(endpoints, prefix=prefix, identity=identity, deadline=deadline)
    try:
        yield store
    finally:
        await store.close()


async def put(store: EtcdStore, *keys: str) -> int:
    return (await store.txn([], [Put(key, key.encode()) for key in keys])).revision


async def until_available(store: EtcdStore) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await store.read()
                return
            except Unavailable:
                await asyncio.sleep(0.05)


async def eventually(condition: Callable[[], bool]) -> None:
    """For what tells nobody when it changes."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)


async def error_of(call: Awaitable[object]) -> StoreError | None:
    try:
        await call
    except StoreError as error:
        return error
    return None


# Killed and started again


async def test_a_watch_sees_every_change_once_across_kills(own_etcd: EtcdProcess) -> None:
    """Writes before, during and after two kills; a fresh watch afterwards is the judge."""
    async with connected(own_etcd.endpoint) as store:
        start = (await store.read()).revision
        async with watching(store, "", start) as seen:
            for kill in range(2):
                await put(store, f"before-{kill}", "shared")
                writes = [asyncio.create_task(put(store, f"{kill}-{n}", "s")) for n in range(200)]
                await writes[20]
                own_etcd.kill()
                await asyncio.wait(writes)
                assert all(
                    isinstance(write.exception(), Unavailable | UnknownOutcome | None)
                    for write in writes
                )
                await asyncio.to_thread(own_etcd.start)
                await until_available(store)
                await put(store, f"after-{kill}", "shared")
            await put(store, "end")
            await seen.until_key("end")
        async with watching(store, "", start) as fresh:
            await fresh.until_key("end")
    assert seen.changes == fresh.changes
    assert {"before-0", "after-0", "before-1", "after-1"} <= set(seen.keys)


async def test_a_txn_cut_short_by_a_kill_says_what_is_known(own_etcd: EtcdProcess) -> None:
    """Applied, not applied or unknown; what is said to be the one or the other is so."""
    async with connected(own_etcd.endpoint, deadline=3.0) as store:
        keys = [f"k{number:03}" for number in range(300)]
        writes = {key: asyncio.create_task(put(store, key)) for key in keys}
        await writes["k030"]
        own_etcd.kill()
        async with asyncio.timeout(3.0 + BUSY_SECONDS):
            await asyncio.wait(writes.values())
        await asyncio.to_thread(own_etcd.start)
        await until_available(store)
        stored = {entry.key for entry in (await store.read()).entries}
    for key, write in writes.items():
        error = write.exception()
        assert isinstance(error, Unavailable | UnknownOutcome | None)
        if error is None:
            assert key in stored
        if isinstance(error, Unavailable):
            assert key not in stored


async def test_a_store_that_is_down_is_unavailable_at_once_and_back_soon(
    own_etcd: EtcdProcess,
) -> None:
    async with connected(own_etcd.endpoint) as store:
        await put(store, "a")
        own_etcd.kill()
        async with asyncio.timeout(BUSY_SECONDS):
            said = ""
            while not said.endswith("cannot be reached: Connection refused"):
                error = await error_of(store.read())
                assert isinstance(error, Unavailable | None)
                assert "Stream removed" not in str(error)
                said = str(error)
            for call in (put(store, "b"), store.grant(5), store.keep_alive(1), store.revoke(1)):
                assert isinstance(await error_of(call), Unavailable)
        await asyncio.to_thread(own_etcd.start)
        async with asyncio.timeout(1.0 + BUSY_SECONDS):
            await until_available(store)
        assert [entry.key for entry in (await store.read()).entries] == ["a"]


async def test_connecting_to_nothing_is_unavailable() -> None:
    (port,) = free_ports(1)
    async with asyncio.timeout(BUSY_SECONDS):
        with pytest.raises(Unavailable, match=f"etcd at 127.0.0.1:{port} cannot be reached"):
            await EtcdStore.connect([f"127.0.0.1:{port}"])


@pytest.mark.parametrize("endpoint", ["", "etcd", "ftp://etcd:2379", "etcd:", "etcd:port"])
async def test_a_malformed_endpoint_is_named(endpoint: str) -> None:
    with pytest.raises(ValueError, match=r"etcd endpoint|is not HOST:PORT"):
        await EtcdStore.connect([endpoint])


# Stalled, or behind a network that fails


async def test_no_call_outlasts_its_deadline_on_a_stalled_server(own_etcd: EtcdProcess) -> None:
    async with connected(own_etcd.endpoint, deadline=3.0) as store:
        await until_available(store)
        own_etcd.signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(3.0 + BUSY_SECONDS):
                unknown, *unavailable = await asyncio.gather(
                    error_of(put(store, "b")),
                    error_of(store.read()),
                    error_of(store.grant(5)),
                    error_of(store.keep_alive(1)),
                    error_of(store.revoke(1)),
                )
        finally:
            own_etcd.signal(signal.SIGCONT)
        assert isinstance(unknown, UnknownOutcome)
        assert [type(error) for error in unavailable] == [Unavailable] * 4
        await until_available(store)


async def test_an_unknown_outcome_can_be_read_again(etcd: EtcdProcess, etcd_prefix: str) -> None:
    async with (
        wire_to(etcd.endpoint) as wire,
        connected(wire.endpoint, prefix=etcd_prefix, deadline=1.0) as store,
        connected(etcd.endpoint, prefix=etcd_prefix) as witness,
        watching(witness, "", (await witness.read()).revision) as seen,
    ):
        wire.swallow_answers()
        write = asyncio.create_task(error_of(put(store, "a")))
        await seen.until_key("a")
        assert isinstance(await write, UnknownOutcome)
        await wire.cut()
        assert isinstance(await error_of(put(store, "b")), Unavailable)
        await wire.mend()
        await until_available(store)
        assert [entry.key for entry in (await store.read()).entries] == ["a"]


async def test_a_watch_goes_on_after_the_network_was_cut(
    etcd: EtcdProcess, etcd_prefix: str
) -> None:
    async with (
        wire_to(etcd.endpoint) as wire,
        connected(wire.endpoint, prefix=etcd_prefix) as store,
        connected(etcd.endpoint, prefix=etcd_prefix) as witness,
        watching(store, "", (await witness.read()).revision) as seen,
    ):
        await put(witness, "before")
        await seen.until_key("before")
        await wire.cut()
        await put(witness, "during-1", "during-2")
        await put(witness, "during-3")
        await wire.mend()
        await put(witness, "after")
        await seen.until_key("after")
    assert seen.keys == ["before", "during-1", "during-2", "during-3", "after"]


async def test_a_watch_cut_off_within_a_backlog_misses_nothing(
    etcd: EtcdProcess, etcd_prefix: str
) -> None:
    """etcd sends a backlog in parts of 1,000 revisions; the second is lost on its way."""
    async with (
        wire_to(etcd.endpoint) as wire,
        connected(wire.endpoint, prefix=etcd_prefix) as store,
        connected(etcd.endpoint, prefix=etcd_prefix) as witness,
    ):
        start = (await witness.read()).revision
        for first in range(0, 1200, 100):
            writes = [Put(f"{first + number:04}", bytes(10_000)) for number in range(100)]
            await asyncio.gather(*(witness.txn([], [write]) for write in writes))
        batches = store.watch("", start)
        seen = list(await anext(batches))
        await wire.cut()
        await wire.mend()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(seen) < 1200:
                seen += await anext(batches)
    assert [change.mod_revision for change in seen] == list(range(start + 1, start + 1201))


async def test_a_watch_cut_off_across_a_compaction_says_so(
    etcd: EtcdProcess, etcd_prefix: str
) -> None:
    async with (
        wire_to(etcd.endpoint) as wire,
        connected(wire.endpoint, prefix=etcd_prefix) as store,
        connected(etcd.endpoint, prefix=etcd_prefix) as witness,
        watching(store, "", (await witness.read()).revision) as seen,
    ):
        await put(witness, "before")
        await seen.until_key("before")
        await wire.cut()
        await put(witness, "missed")
        await witness.compact(await put(witness, "head"))
        await wire.mend()
        await seen.until_ended()
    assert isinstance(seen.error, Compacted)
    assert seen.keys == ["before"]


async def test_a_watch_cut_off_and_not_overtaken_survives_a_compaction(
    etcd: EtcdProcess, etcd_prefix: str
) -> None:
    async with (
        wire_to(etcd.endpoint) as wire,
        connected(wire.endpoint, prefix=etcd_prefix) as store,
        connected(etcd.endpoint, prefix=etcd_prefix) as witness,
        watching(store, "", (await witness.read()).revision) as seen,
    ):
        head = await put(witness, "head")
        await seen.until_key("head")
        await wire.cut()
        await witness.compact(head)
        await put(witness, "after")
        await wire.mend()
        await seen.until_key("after")
    assert seen.keys == ["head", "after"]


async def test_progress_carries_an_idle_watch_past_a_compaction(tmp_path: Path) -> None:
    """Nothing changes under the watch's own prefix while the store moves on and compacts."""
    server = EtcdProcess(
        tmp_path / "etcd", None, "--experimental-watch-progress-notify-interval=100ms"
    )
    await asyncio.to_thread(server.start)
    try:
        async with (
            wire_to(server.endpoint) as wire,
            connected(server.endpoint) as witness,
        ):
            members = Members([wire.endpoint], None)
            mine = await put(witness, "mine/a")
            watch = EtcdWatch(members, Keyspace("/test/"), "mine/", mine)
            async with observing(watch.batches()) as seen:
                head = await put(witness, "other")
                await eventually(lambda: watch.seen >= head)
                await wire.cut()
                await witness.compact(head)
                await wire.mend()
                await put(witness, "mine/end")
                await seen.until_key("mine/end")
                await members.close()
            assert seen.keys == ["mine/end"]
    finally:
        server.kill()


async def test_another_endpoint_takes_over(etcd: EtcdProcess, etcd_prefix: str) -> None:
    async with (
        wire_to(etcd.endpoint) as one,
        wire_to(etcd.endpoint) as other,
        connected(one.endpoint, other.endpoint, prefix=etcd_prefix) as store,
        watching(store, "", (await store.read()).revision) as seen,
    ):
        await put(store, "a")
        await seen.until_key("a")
        lease = await store.grant(3600)
        await one.cut()
        async with asyncio.timeout(BUSY_SECONDS):
            assert await store.keep_alive(lease) == 3600
            await put(store, "b")
            await seen.until_key("b")
        other.swallow_answers()
        await one.mend()
        async with asyncio.timeout(5.0 + BUSY_SECONDS):
            assert len((await store.read()).entries) == 2
            assert await store.keep_alive(lease) == 3600
    assert seen.keys == ["a", "b"]


# Replaced


async def test_an_etcd_made_anew_in_its_place_is_not_taken_for_it(own_etcd: EtcdProcess) -> None:
    """Same name, same ports, and so the same cluster id: its revision gives it away."""
    async with connected(own_etcd.endpoint) as store:
        revision = await put(store, "a")
        async with watching(store, "", revision) as seen:
            own_etcd.kill()
            own_etcd.forget()
            await asyncio.to_thread(own_etcd.start)
            await seen.until_ended()
        assert isinstance(seen.error, StoreReplaced)
        with pytest.raises(StoreReplaced, match=f"is at revision 1 and had been at {revision}"):
            await store.read()


async def test_another_cluster_is_not_written_to(own_etcd: EtcdProcess) -> None:
    async with connected(own_etcd.endpoint) as store:
        await put(store, "a")
        own_etcd.kill()
        own_etcd.forget("another")
        assert isinstance(await error_of(store.read()), Unavailable)
        await asyncio.to_thread(own_etcd.start)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while isinstance(error := await error_of(put(store, "b")), Unavailable):
                continue
        assert isinstance(error, StoreReplaced)
        for call in (put(store, "c"), store.read(), store.grant(5)):
            with pytest.raises(StoreReplaced, match="is another cluster"):
                await call
        async with connected(own_etcd.endpoint) as anew:
            assert (await anew.read()).entries == ()


# Large, and full


async def test_a_long_read_is_of_one_revision(etcd: EtcdProcess, etcd_prefix: str) -> None:
    """More than two pages while every txn rewrites all marks: a read sees one value in all."""
    async with connected(etcd.endpoint, prefix=etcd_prefix) as store:
        count = 2 * PAGE_KEYS + 100
        keys = [f"{number:06}" for number in range(count)]
        for first in range(0, count, MAX_TXN_OPS):
            await put(store, *keys[first : first + MAX_TXN_OPS])
        marks = [keys[0], keys[PAGE_KEYS], keys[-1]]

        async def rewrite() -> None:
            while True:
                seen = (await store.txn([], [Put(mark, b"first") for mark in marks])).revision
                await store.txn([], [Put(mark, b"%d" % seen) for mark in marks])

        await store.txn([], [Put(mark, b"") for mark in marks])
        writer = asyncio.create_task(rewrite())
        try:
            for _ in range(3):
                snapshot = await store.read()
                values = {entry.key: entry.value for entry in snapshot.entries}
                assert list(values) == keys
                assert len({values[mark] for mark in marks}) == 1
        finally:
            writer.cancel()
            await asyncio.wait([writer])


async def test_a_read_larger_than_a_message(
    etcd: EtcdProcess, etcd_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 4 * 1024 * 1024
    options = {**dict(member.OPTIONS), "grpc.max_receive_message_length": limit}
    monkeypatch.setattr(member, "OPTIONS", tuple(options.items()))
    async with connected(etcd.endpoint, prefix=etcd_prefix) as store:
        for number in range(80):
            await store.txn([], [Put(f"{number:03}", bytes(100_000))])
        snapshot = await store.read()
    assert sum(len(entry.value) for entry in snapshot.entries) == 80 * 100_000 > limit


async def test_a_full_etcd_is_unavailable_and_says_what_to_do(tmp_path: Path) -> None:
    server = EtcdProcess(tmp_path / "etcd", None, f"--quota-backend-bytes={4 * 1024 * 1024}")
    await asyncio.to_thread(server.start)
    try:
        async with connected(server.endpoint) as store:
            lease = await store.grant(3600)
            await put(store, "a")
            # Its quota is checked against what was written out, some time after it was taken.
            with pytest.raises(Unavailable, match=r"its database is full \(NOSPACE\); compact"):
                async with asyncio.timeout(60):
                    for number in itertools.count():
                        await store.txn([], [Put("big", bytes([number % 256]) * 500_000)])
            before = (await store.read()).revision
            with pytest.raises(Unavailable, match="its database is full"):
                await put(store, "b")
            assert (await store.read()).revision == before
            assert await store.keep_alive(lease) == 3600
            with pytest.raises(Full):
                await store.grant(3600)
            health = await store.health()
            assert [member.alarms for member in health.members] == [("NOSPACE",)]
            assert "NOSPACE" in health.troubles()[0] and "alarm disarm" in health.troubles()[0]
    finally:
        server.kill()


# Health


async def test_a_store_that_is_down_says_so_of_its_members(own_etcd: EtcdProcess) -> None:
    async with connected(own_etcd.endpoint) as store:
        own_etcd.kill()
        health = await store.health()
    (member,) = health.members
    assert member.address == own_etcd.endpoint and member.problem
    assert health.read_seconds is None
    assert any("cannot be reached" in text for text in health.troubles())


# TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> EtcdTls:
    folder = tmp_path_factory.mktemp("tls")
    issued = authority().issue_server("etcd", ["127.0.0.1"])
    files = EtcdTls(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    files.ca.write_bytes(authority().certificate)
    files.certificate.write_bytes(issued.certificate)
    files.key.write_bytes(issued.key)
    return files


async def test_tls_lets_in_who_shows_a_certificate_and_no_one_else(
    tmp_path: Path, tls: EtcdTls
) -> None:
    server = EtcdProcess(tmp_path / "etcd", tls)
    await asyncio.to_thread(server.start)
    ours = authority().identity(Role.CONTROLLER, "one")
    stranger = Authority.create("Other").identity(Role.CONTROLLER, "one")
    try:
        async with connected(f"https://{server.endpoint}", identity=ours) as store:
            result: TxnResult = await store.txn([], [Put("a", b"1")])
            async with watching(store, "", result.revision - 1) as seen:
                await seen.until_key("a")
        untrusted = Identity(ours.ca, stranger.certificate, stranger.key)
        for identity, says in (
            (None, "ended the handshake"),
            (untrusted, "ended the handshake"),
            (stranger, "its certificate is not from the authority"),
        ):
            with pytest.raises(Unavailable, match=f"cannot be reached: .*{says}"):
                await EtcdStore.connect([server.endpoint], identity=identity, deadline=2.0)
    finally:
        server.kill()
