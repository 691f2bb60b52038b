"""Hosts to hold a Storage against: hollow, files, ZFS over a fake of its calls, and the real one
where MEGAFLEET_ZFS_PARENT names a dataset that the tests may fill (pytest -k zfs, as root)."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from fleet.identity import Fleet
from fleet.keys import Epoch, Kin, Term
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.disks import CloneWay
from fleet_agent.core.domain.marks import read_mark
from fleet_agent.core.model import Batch, Mark, StepFailure, StepResult
from fleet_agent.drivers.files import storage as file_storage
from fleet_agent.drivers.files.storage import FileStorage
from fleet_agent.drivers.files.ways import FOR_ALL, OVERLAYS
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.storage import HollowStorage
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.ports.storage import Storage
from fleet_agent.drivers.zfs.calls import HostZfs, ZfsError
from fleet_agent.drivers.zfs.nodes import Node
from fleet_agent.drivers.zfs.storage import ZfsStorage

FLEET = Fleet("8e3a4f62-6a0c-4b3e-9d51-0f6a4c1b7d10", "spv", 7, site=1)
OTHER = replace(FLEET, uid="11111111-6a0c-4b3e-9d51-0f6a4c1b7d10")
KIN = Kin(FLEET.uid, 3, 41)
SIZE = 8 << 20
SETTLED_SECONDS = 60.0


def spec(snapshot: str = "g", size: int = 0) -> types.FleetSpec:
    return types.FleetSpec(
        image=types.Image(name="golden", snapshot=snapshot),
        disk=types.Disk(target="xvda", size_bytes=size),
    )


def batch(
    indices: IndexSet, template: types.FleetSpec | None = None, fleet: Fleet = FLEET
) -> Batch:
    kin = Kin(fleet.uid, KIN.generation, KIN.birth)
    return Batch(fleet, kin, template or spec(), Mark(Term(1, 10), Epoch(1, 20)), indices)


async def gather(results: AsyncIterator[StepResult]) -> tuple[IndexSet, tuple[StepFailure, ...]]:
    """All of an iteration, having seen that no index appears twice."""
    done = EMPTY
    failures: list[StepFailure] = []
    async for result in results:
        assert done.isdisjoint(result.done)
        done |= result.done
        failures += result.failures
    failed = [failure.index for failure in failures]
    assert len(set(failed)) == len(failed)
    assert done.isdisjoint(IndexSet.of(failed))
    return done, tuple(failures)


class Host(Protocol):
    """One host under test, which outlives the drivers opened on it."""

    def driver(self) -> Storage: ...

    async def take_name(self, name: str) -> None:
        """Something that is not of KIN takes a clone's name."""

    async def has_taken(self, name: str) -> bool: ...


@dataclass
class HollowHost:
    only: HollowStorage = field(default_factory=lambda: HollowStorage(Behaviour.of()))

    def driver(self) -> Storage:
        return self.only

    async def take_name(self, name: str) -> None:
        index = int(name.rpartition("-")[2])
        await gather(self.only.clone(batch(IndexSet.of([index]), fleet=OTHER)))

    async def has_taken(self, name: str) -> bool:
        index = int(name.rpartition("-")[2])
        return any(
            run.kin.fleet_uid == OTHER.uid and index in run.indices
            for run in await self.only.listing()
        )


class FileHost:
    """A folder with a golden image that has a hole in it."""

    def __init__(self, folder: Path, ways: Sequence[CloneWay] = FOR_ALL) -> None:
        self.folder = folder
        self.ways = ways
        (folder / file_storage.IMAGES).mkdir()
        with (folder / file_storage.IMAGES / "golden@g").open("wb") as golden:
            golden.write(b"golden" * 1000)
            golden.seek(SIZE // 2)
            golden.write(b"middle")
            golden.truncate(SIZE)

    def driver(self) -> FileStorage:
        return FileStorage(self.folder, ways=self.ways)

    def clone(self, name: str) -> Path:
        return self.folder / file_storage.CLONES / name

    async def take_name(self, name: str) -> None:
        self.clone(name).parent.mkdir(exist_ok=True)
        self.clone(name).write_text("foreign")

    async def has_taken(self, name: str) -> bool:
        return self.clone(name).read_text() == "foreign"


class FakeZfs:
    """ZFS's calls in memory: names, user properties, space, and nodes that come late."""

    def __init__(self, looks_until_node: int = 0, room: int = 1000) -> None:
        self.volumes_by_name: dict[str, dict[str, str]] = {"tank/golden": {}}
        self.sizes = {"tank/golden": SIZE, "tank/golden@g": SIZE}
        self.origins: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        self.busy: dict[str, int] = {}
        self.programs = True  # whether this host runs channel programs
        self.programs_run: list[int] = []  # volumes in each
        self.looks_until_node = looks_until_node
        self.looks: dict[str, int] = {}
        self.room = room
        self.imported = True
        self.lock = threading.Lock()

    def clone(self, name: str, origin: str, marks: Mapping[str, str], size: int) -> None:
        with self.lock:
            if not self.imported or origin not in self.sizes:
                raise ZfsError(errno.ENOENT, "DatasetNotFound")
            if name in self.volumes_by_name:
                raise ZfsError(errno.EEXIST, "FilesystemExists")
            if len(self.volumes_by_name) > self.room:
                raise ZfsError(errno.ENOSPC, "NoSpace")
            self.volumes_by_name[name] = dict(marks)
            self.sizes[name] = size or self.sizes[origin]
            self.origins[name] = origin

    def destroy(self, name: str) -> None:
        with self.lock:
            if self.busy.get(name):
                self.busy[name] -= 1
                raise ZfsError(errno.EBUSY, "DatasetBusy")
            if self.volumes_by_name.pop(name, None) is None:
                raise ZfsError(errno.ENOENT, "DatasetNotFound")
            del self.sizes[name]
            self.origins.pop(name, None)

    def destroy_marked(self, kin: Kin, volumes: Mapping[str, int]) -> Mapping[str, int]:
        if not self.programs:
            raise ZfsError(errno.EPERM, "ZCPPermissionError")
        self.programs_run.append(len(volumes))
        return {name: self._destroy_marked(kin, name, index) for name, index in volumes.items()}

    def _destroy_marked(self, kin: Kin, name: str, index: int) -> int:
        marked = read_mark(self.volumes_by_name.get(name, {}))
        if marked is None or (marked.kin, marked.index) != (kin, index):
            return 0
        try:
            self.destroy(name)
        except ZfsError as error:
            return error.number
        return 0

    def recorded(self, snapshot: str) -> str | None:
        return self.digests.get(snapshot, "") if snapshot in self.sizes else None

    def exists(self, name: str) -> bool:
        return self.imported and (name == "tank" or name in self.sizes)

    def volumes(self, parent: str) -> Mapping[str, Mapping[str, str]]:
        self.checked()
        with self.lock:
            return {name: dict(marks) for name, marks in self.volumes_by_name.items()}

    def space(self, parent: str) -> tuple[int, int]:
        self.checked()
        return 1 << 20, 1 << 30

    def link_nodes(self, names: Collection[str]) -> None:
        """Nodes have no links here."""

    def node(self, name: str) -> Node | None:
        with self.lock:
            self.looks[name] = self.looks.get(name, 0) + 1
            if self.looks[name] <= self.looks_until_node or name not in self.sizes:
                # As udev's link does that it has not brought up to date: another volume's.
                return Node("tank/gone", SIZE) if self.looks[name] > 1 else None
            return Node(name, self.sizes[name])

    def version(self) -> str:
        return "0"

    def checked(self) -> None:
        if not self.imported:
            raise DriverError("cannot list ZFS volumes: no such pool 'tank'")


class FakeZfsHost:
    def __init__(self, calls: FakeZfs | None = None) -> None:
        self.calls = calls or FakeZfs(looks_until_node=2)

    def driver(self) -> ZfsStorage:
        return ZfsStorage("tank", calls=self.calls, node_seconds=30)

    async def take_name(self, name: str) -> None:
        self.calls.volumes_by_name[f"tank/{name}"] = {}
        self.calls.sizes[f"tank/{name}"] = 1

    async def has_taken(self, name: str) -> bool:
        return self.calls.volumes_by_name[f"tank/{name}"] == {}


class RealZfsHost:
    """A dataset of its own below the one named in the environment."""

    def __init__(self, parent: str) -> None:
        self.parent = f"{parent}/contract-{os.getpid()}-{threading.get_ident()}"
        zfs("create", self.parent)
        zfs("create", "-s", "-V", str(SIZE), "-b", "16k", f"{self.parent}/golden")
        zfs("snapshot", f"{self.parent}/golden@g")

    def driver(self) -> ZfsStorage:
        return ZfsStorage(self.parent, calls=HostZfs())

    async def take_name(self, name: str) -> None:
        zfs("create", "-s", "-V", str(SIZE), f"{self.parent}/{name}")

    async def has_taken(self, name: str) -> bool:
        return zfs("list", "-H", "-o", "name,megafleet:uid", f"{self.parent}/{name}").endswith(
            "-\n"
        )

    def remove(self) -> None:
        destroy_all(self.parent)


def zfs(*arguments: str) -> str:
    return subprocess.run(["zfs", *arguments], check=True, capture_output=True, text=True).stdout


def destroy_all(parent: str) -> None:
    """A dataset with all below it, once udev has looked at each volume that it was told of."""
    end = time.monotonic() + SETTLED_SECONDS
    while True:
        subprocess.run(["udevadm", "settle"], check=True, timeout=SETTLED_SECONDS)
        try:
            zfs("destroy", "-R", parent)
            return
        except subprocess.CalledProcessError as error:
            if "busy" not in error.stderr or time.monotonic() > end:
                raise


@contextmanager
def hollow_host() -> Iterator[Host]:
    yield HollowHost()


@contextmanager
def file_host(parent: str | None = None, ways: Sequence[CloneWay] = FOR_ALL) -> Iterator[FileHost]:
    folder = Path(tempfile.mkdtemp(prefix="megafleet-test-", dir=parent))
    try:
        yield FileHost(folder, ways)
    finally:
        shutil.rmtree(folder)


@contextmanager
def fake_zfs_host() -> Iterator[Host]:
    yield FakeZfsHost()


@contextmanager
def real_zfs_host() -> Iterator[Host]:
    host = RealZfsHost(ZFS_PARENT)
    try:
        yield host
    finally:
        host.remove()


# A dataset of a real pool, and a folder of a file system that can share blocks: contracts run
# on them as well where the machine has them.
ZFS_PARENT = os.environ.get("MEGAFLEET_ZFS_PARENT", "")
REFLINK_FOLDER = os.environ.get("MEGAFLEET_REFLINK_FOLDER", "")

HOSTS: dict[str, Callable[[], AbstractContextManager[Host]]] = {
    "hollow": hollow_host,
    "files": file_host,
    "overlays": lambda: file_host(ways=OVERLAYS),
    "zfs-fake": fake_zfs_host,
}
if ZFS_PARENT:
    HOSTS["zfs"] = real_zfs_host
if REFLINK_FOLDER:
    HOSTS["reflink"] = lambda: file_host(REFLINK_FOLDER)
