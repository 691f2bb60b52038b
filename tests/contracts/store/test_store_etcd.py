"""A store in etcd that is large, full, or behind TLS."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from fleet.transport import Identity, Role
from fleet_controller.store.etcd import member
from fleet_controller.store.etcd.store import PAGE_KEYS, EtcdStore
from fleet_controller.store.port import (
    MAX_TXN_OPS,
    Full,
    Put,
    TxnResult,
    Unavailable,
)
from fleetctl.local.certificate_authority import Authority
from tests.certificates import authority
from tests.contracts.store.etcd_stores import (
    connected,
    put,
)
from tests.contracts.store.store_watching import watching
from tests.processes.etcd_process import EtcdProcess, EtcdTls

pytest_plugins = ["tests.processes.etcd_fixtures"]


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
