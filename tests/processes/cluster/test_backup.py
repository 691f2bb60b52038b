"""The store copied into a file, and a new etcd made of it: with a real etcd and its own tool."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.transport import Refusal, Role
from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.store.etcd.store import EtcdStore
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import Copied, Put, Unavailable
from fleetctl.local import etcd_member
from fleetctl.local.snapshot_file import SnapshotFile, check
from fleetctl.outcome import ExitCode, Failed, Misuse
from tests.certificates import issue
from tests.processes.controller_double import ControllerDouble
from tests.processes.etcd_process import EtcdProcess
from tests.processes.fleetctl_process import Fleetctl
from tests.virtual_loop import virtual

pytest_plugins = ["tests.processes.etcd_fixtures"]

BODY = bytes(range(256)) * 300
WHOLE = BODY + hashlib.sha256(BODY).digest()


def chunks(data: bytes, size: int = 10_000) -> list[cluster.BackupChunk]:
    return [
        cluster.BackupChunk(data=data[at : at + size], offset=at, total_bytes=len(data))
        for at in range(0, len(data), size)
    ]


@pytest.fixture
def controller() -> Iterator[ControllerDouble]:
    with ControllerDouble() as double:
        yield double


@pytest.fixture
def fleetctl(controller: ControllerDouble, tmp_path: Path) -> Fleetctl:
    identity = issue(tmp_path / "identity", Role.OPERATOR, "alice")
    return Fleetctl(tmp_path, (controller.endpoint,), identity)


# The file


def test_a_backup_is_a_file_whose_size_and_checksum_are_told(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path
) -> None:
    controller.streams["Backup"] = list(chunks(WHOLE))
    file = tmp_path / "store.db"
    told = fleetctl("backup", str(file), "-o", "json").json
    assert file.read_bytes() == WHOLE and file.stat().st_mode & 0o777 == 0o600
    assert told == {
        "file": str(file), "bytes": len(WHOLE), "sha256": hashlib.sha256(WHOLE).hexdigest(),
    }  # fmt: skip
    assert not list(tmp_path.glob("*.part"))


def test_a_file_that_is_there_is_overwritten_only_when_told(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path
) -> None:
    controller.streams["Backup"] = list(chunks(WHOLE))
    file = tmp_path / "store.db"
    file.write_bytes(b"precious")
    said = fleetctl("backup", str(file))
    assert (said.code, file.read_bytes()) == (ExitCode.FAILED, b"precious")
    assert "is there already; --force overwrites it" in said.err
    assert fleetctl("backup", str(file), "--force").code == ExitCode.DONE
    assert file.read_bytes() == WHOLE


@pytest.mark.parametrize(
    "spoilt", [WHOLE[:-1], WHOLE[1:], WHOLE[:-32], b"", WHOLE[:100] + b"x" + WHOLE[101:]]
)
def test_a_backup_that_did_not_come_whole_is_none(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path, spoilt: bytes
) -> None:
    controller.streams["Backup"] = list(chunks(spoilt))
    said = fleetctl("backup", str(tmp_path / "store.db"))
    assert said.code == ExitCode.FAILED and "did not come whole" in said.err
    assert not list(tmp_path.glob("store.db*"))


def test_another_controller_begins_anew_and_the_file_with_it(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path
) -> None:
    controller.streams["Backup"] = [*chunks(b"of another leader" * 999)[:1], *chunks(WHOLE)]
    file = tmp_path / "store.db"
    assert fleetctl("backup", str(file)).code == ExitCode.DONE
    assert file.read_bytes() == WHOLE


def test_a_controller_that_cannot_says_why(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path
) -> None:
    import grpc

    controller.streams["Backup"] = [
        Refusal(grpc.StatusCode.FAILED_PRECONDITION, "NOT_DURABLE", "in memory: has no backup")
    ]
    said = fleetctl("backup", str(tmp_path / "store.db"))
    assert (said.code, said.err) == (ExitCode.FAILED, "fleetctl: in memory: has no backup\n")


@virtual
async def test_a_store_in_memory_has_no_copy() -> None:
    assert not isinstance(MemoryStore(lambda: 0.0), Copied)


def test_any_file_is_told_from_a_backup(tmp_path: Path, fleetctl: Fleetctl) -> None:
    file = tmp_path / "db"
    file.write_bytes(BODY)
    said = fleetctl(
        "restore", str(file), "--data-dir", str(tmp_path / "d"), "--name", "m",
        "--peer-urls", "http://m:2380", "--initial-cluster", "m=http://m:2380", "--yes",
    )  # fmt: skip
    assert said.code == ExitCode.FAILED and "is no whole backup" in said.err
    assert not (tmp_path / "d").exists()


# What etcd must be told


ENVIRONMENT = """
# a comment
ETCD_NAME=etcd-2
export ETCD_DATA_DIR="/var/lib/etcd/mega fleet"
ETCD_INITIAL_ADVERTISE_PEER_URLS=https://192.0.2.12:2380
ETCD_INITIAL_CLUSTER=etcd-1=https://192.0.2.11:2380,etcd-2=https://192.0.2.12:2380
OTHER=x
"""


def test_a_member_is_read_from_etcds_own_settings() -> None:
    settings = etcd_member.settings_in(ENVIRONMENT)
    member = etcd_member.member_of(settings, {}, "there")
    assert (member.name, member.data_dir) == ("etcd-2", Path("/var/lib/etcd/mega fleet"))
    assert member.others == ["etcd-1"]
    given = {"name": "etcd-1", "data_dir": "/d", "peer_urls": "https://192.0.2.11:2380"}
    assert etcd_member.member_of(settings, given, "there").others == ["etcd-2"]


def test_what_is_missing_is_named() -> None:
    with pytest.raises(Misuse, match="--name, --peer-urls: neither given nor in there"):
        settings = {"ETCD_DATA_DIR": "/d", "ETCD_INITIAL_CLUSTER": "a=x"}
        etcd_member.member_of(settings, {}, "there")
    with pytest.raises(Misuse, match="etcd-9 is none of the members"):
        settings = etcd_member.settings_in(ENVIRONMENT)
        etcd_member.member_of(settings, {"name": "etcd-9"}, "there")


# With a real etcd


async def copied(etcd: EtcdProcess, file: Path, prefix: str = "/megafleet/") -> None:
    store = await EtcdStore.connect([etcd.endpoint], prefix=prefix)
    try:
        with SnapshotFile(file, force=False) as made:
            async for piece in store.copy():
                made.add(piece.data)
                assert piece.left >= 0
            assert piece.left == 0
            made.finish()
    finally:
        await store.close()


async def stored(etcd: EtcdProcess) -> tuple[dict[str, bytes], str]:
    store = await EtcdStore.connect([etcd.endpoint], prefix="/megafleet/")
    try:
        snapshot = await store.read()
        return {entry.key: entry.value for entry in snapshot.entries}, snapshot.cluster
    finally:
        await store.close()


async def write(etcd: EtcdProcess, *keys: str) -> None:
    store = await EtcdStore.connect([etcd.endpoint], prefix="/megafleet/")
    try:
        for key in keys:
            await store.txn([], [Put(key, key.encode() * 1000)])
    finally:
        await store.close()


def restoring(etcd: EtcdProcess, file: Path, *more: str) -> list[str]:
    return ["restore", str(file), *etcd.restore_options(), *more]


async def test_an_etcd_made_of_a_backup_holds_what_was_there_and_is_another_cluster(
    own_etcd: EtcdProcess, tmp_path: Path, fleetctl: Fleetctl
) -> None:
    await write(own_etcd, *(f"early/{n}" for n in range(200)))
    before, cluster_before = await stored(own_etcd)
    file = tmp_path / "store.db"
    await copied(own_etcd, file)
    check(file)
    await write(own_etcd, "late")
    said = fleetctl(*restoring(own_etcd, file, "--yes"))
    assert said.code == ExitCode.FAILED and "an etcd is running on" in said.err
    own_etcd.kill()
    shown = fleetctl(*restoring(own_etcd, file, "--plan"))
    assert shown.code == ExitCode.DONE and "snapshot restore" in shown.err
    assert fleetctl(*restoring(own_etcd, file)).code == ExitCode.USAGE, "it asks first"
    told = fleetctl(*restoring(own_etcd, file, "--yes", "-o", "json")).json
    assert told["aside"].startswith(told["data_dir"]) and told["others"] == []
    own_etcd.start()
    after, cluster_after = await stored(own_etcd)
    assert after == before and cluster_after != cluster_before


async def test_an_etcd_that_is_gone_gives_no_copy(own_etcd: EtcdProcess, tmp_path: Path) -> None:
    store = await EtcdStore.connect([own_etcd.endpoint], prefix="/megafleet/", deadline=1.0)
    try:
        own_etcd.kill()
        with pytest.raises(Unavailable):
            async for _ in store.copy():
                pass
    finally:
        await store.close()


def test_a_backup_that_cannot_be_written_names_its_file(tmp_path: Path) -> None:
    nowhere = SnapshotFile(tmp_path / "none" / "b.db", force=False)
    with pytest.raises(Failed, match=r"cannot write .*/none/b\.db\.part: No such file"), nowhere:
        pytest.fail("it was made")
    made = SnapshotFile(tmp_path / "b.db", force=False)
    with pytest.raises(Failed, match=r"cannot write .*/b\.db\.part: No space left"), made:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, made._descriptor)
        os.close(full)
        made.add(b"more than there is room for")
    assert not made.path.exists()
