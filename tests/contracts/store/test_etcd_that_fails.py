"""What only a store behind a network has: servers that die, come back, or are replaced."""

from __future__ import annotations

import asyncio

import pytest

from fleet_controller.store.etcd.store import EtcdStore
from fleet_controller.store.port import (
    StoreReplaced,
    Unavailable,
    UnknownOutcome,
)
from tests.contracts.store.etcd_stores import (
    BUSY_SECONDS,
    connected,
    error_of,
    put,
    until_available,
)
from tests.contracts.store.store_watching import PATIENCE_SECONDS, watching
from tests.processes.etcd_process import EtcdProcess, free_ports

pytest_plugins = ["tests.processes.etcd_fixtures"]


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


async def test_a_store_that_is_down_says_so_of_its_members(own_etcd: EtcdProcess) -> None:
    async with connected(own_etcd.endpoint) as store:
        own_etcd.kill()
        health = await store.health()
    (member,) = health.members
    assert member.address == own_etcd.endpoint and member.problem
    assert health.read_seconds is None
    assert any("cannot be reached" in text for text in health.troubles())
