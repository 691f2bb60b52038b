"""A store whose server stalls, or whose network is cut."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from fleet_controller.store.etcd.members import Members
from fleet_controller.store.etcd.watch import EtcdWatch
from fleet_controller.store.etcd.wire import Keyspace
from fleet_controller.store.port import (
    Compacted,
    Put,
    Unavailable,
    UnknownOutcome,
)
from tests.contracts.store.etcd_stores import (
    BUSY_SECONDS,
    connected,
    error_of,
    eventually,
    put,
    until_available,
)
from tests.contracts.store.store_proxy import wire_to
from tests.contracts.store.store_watching import PATIENCE_SECONDS, observing, watching
from tests.processes.etcd_process import EtcdProcess

pytest_plugins = ["tests.processes.etcd_fixtures"]


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
