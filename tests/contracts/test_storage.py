"""What every Storage does alike: hollow hosts, files (copied, and reflinked where the machine
can), ZFS over a fake of its calls, and ZFS itself where MEGAFLEET_ZFS_PARENT names a dataset
that the tests may fill (pytest -k zfs, as root on a host with ZFS)."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import pytest

from fleet.identity import Fleet
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.model import Batch, CloneRun, Kin, Mark, StepFailure, StepResult
from fleet_agent.drivers import reflink, reflink_files
from fleet_agent.drivers.hollow import Behaviour, HollowStorage
from fleet_agent.drivers.ports import DriverError, Storage
from fleet_agent.drivers.reflink import ReflinkStorage
from fleet_agent.drivers.zfs import ZfsStorage
from fleet_agent.drivers.zfs_calls import HostZfs, Node, ZfsError

FLEET = Fleet("8e3a4f62-6a0c-4b3e-9d51-0f6a4c1b7d10", "spv", 7, site=1)
OTHER = replace(FLEET, uid="11111111-6a0c-4b3e-9d51-0f6a4c1b7d10")
KIN = Kin(FLEET.uid, 3, 41)
SIZE = 8 << 20


def spec(snapshot: str = "g", size: int = 0) -> types.FleetSpec:
    return types.FleetSpec(
        image=types.Image(name="golden", snapshot=snapshot),
        disk=types.Disk(target="xvda", size_bytes=size),
    )


def batch(
    indices: IndexSet, template: types.FleetSpec | None = None, fleet: Fleet = FLEET
) -> Batch:
    kin = Kin(fleet.uid, KIN.generation, KIN.birth)
    return Batch(fleet, kin, template or spec(), Mark((1, 10), (1, 20)), indices)


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

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / reflink.IMAGES).mkdir()
        with (folder / reflink.IMAGES / "golden@g").open("wb") as golden:
            golden.write(b"golden" * 1000)
            golden.seek(SIZE // 2)
            golden.write(b"middle")
            golden.truncate(SIZE)

    def driver(self) -> ReflinkStorage:
        return ReflinkStorage(self.folder)

    def clone(self, name: str) -> Path:
        return self.folder / reflink.CLONES / name

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
        self.busy: dict[str, int] = {}
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

    def destroy(self, name: str) -> None:
        with self.lock:
            if self.busy.get(name):
                self.busy[name] -= 1
                raise ZfsError(errno.EBUSY, "DatasetBusy")
            if self.volumes_by_name.pop(name, None) is None:
                raise ZfsError(errno.ENOENT, "DatasetNotFound")
            del self.sizes[name]

    def exists(self, name: str) -> bool:
        return self.imported and (name == "tank" or name in self.sizes)

    def volumes(self, parent: str) -> Mapping[str, Mapping[str, str]]:
        self.checked()
        with self.lock:
            return {name: dict(marks) for name, marks in self.volumes_by_name.items()}

    def space(self, parent: str) -> tuple[int, int]:
        self.checked()
        return 1 << 20, 1 << 30

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
        zfs("destroy", "-R", self.parent)


def zfs(*arguments: str) -> str:
    return subprocess.run(["zfs", *arguments], check=True, capture_output=True, text=True).stdout


@contextmanager
def hollow_host() -> Iterator[Host]:
    yield HollowHost()


@contextmanager
def file_host(parent: str | None = None) -> Iterator[FileHost]:
    folder = Path(tempfile.mkdtemp(prefix="megafleet-test-", dir=parent))
    try:
        yield FileHost(folder)
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

HOSTS = {"hollow": hollow_host, "files": file_host, "zfs-fake": fake_zfs_host}
if ZFS_PARENT:
    HOSTS["zfs"] = real_zfs_host
if REFLINK_FOLDER:
    HOSTS["reflink"] = lambda: file_host(REFLINK_FOLDER)


@pytest.fixture(params=sorted(HOSTS))
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with HOSTS[request.param]() as opened:
        yield opened


@pytest.fixture
async def driver(host: Host) -> AsyncIterator[Storage]:
    opened = host.driver()
    yield opened
    await opened.close()


class TestStorage:
    """The contract."""

    async def test_each_step_twice_is_done_twice(self, driver: Storage) -> None:
        vms = batch(IndexSet.span(0, 5) | IndexSet.of([250]))
        for step, left in ((driver.clone, (CloneRun(KIN, vms.indices),)), (driver.destroy, ())):
            for _ in range(2):
                assert await gather(step(vms)) == (vms.indices, ())
                assert await driver.listing() == left

    async def test_fleets_births_and_generations_are_told_apart(self, driver: Storage) -> None:
        neighbour = replace(OTHER, name="other")
        younger = replace(batch(IndexSet.of([7])), kin=Kin(FLEET.uid, KIN.generation, 99))
        for vms in (
            batch(IndexSet.span(0, 2)),
            batch(IndexSet.span(0, 3), fleet=neighbour),
            younger,
        ):
            await gather(driver.clone(vms))
        assert await driver.listing() == (
            CloneRun(Kin(OTHER.uid, KIN.generation, KIN.birth), IndexSet.span(0, 3)),
            CloneRun(KIN, IndexSet.span(0, 2)),
            CloneRun(younger.kin, IndexSet.of([7])),
        )

    async def test_a_taken_name_is_a_conflict_and_stays_untouched(
        self, host: Host, driver: Storage
    ) -> None:
        await host.take_name("spv-1")
        vms = batch(IndexSet.span(0, 3))
        done, failures = await gather(driver.clone(vms))
        assert done == IndexSet.of([0, 2])
        assert [(one.index, one.kind, one.retry) for one in failures] == [(1, "conflict", False)]
        assert "spv-1" in failures[0].message
        assert await gather(driver.destroy(vms)) == (vms.indices, ())
        assert await host.has_taken("spv-1")

    async def test_another_birth_is_neither_taken_over_nor_destroyed(self, driver: Storage) -> None:
        older = batch(IndexSet.span(0, 2))
        await gather(driver.clone(older))
        younger = replace(older, kin=Kin(FLEET.uid, KIN.generation, 42))
        done, failures = await gather(driver.clone(younger))
        assert (done, [one.kind for one in failures]) == (EMPTY, ["conflict", "conflict"])
        assert await gather(driver.destroy(younger)) == (older.indices, ())
        assert await driver.listing() == (CloneRun(KIN, older.indices),)

    async def test_cancelled_midway_then_repeated(self, driver: Storage) -> None:
        vms = batch(IndexSet.span(0, 40))
        for step, left in ((driver.clone, (CloneRun(KIN, vms.indices),)), (driver.destroy, ())):
            async with asyncio.TaskGroup() as group:
                begun = group.create_task(gather(step(vms)))
                await asyncio.sleep(0)  # let it begin
                begun.cancel()
            assert await gather(step(vms)) == (vms.indices, ())
            assert await driver.listing() == left

    async def test_clones_are_known_to_the_next_driver(self, host: Host) -> None:
        first = host.driver()
        await gather(first.clone(batch(IndexSet.span(0, 3))))
        before = await first.listing()
        await first.close()
        second = host.driver()
        assert await second.listing() == before
        await second.close()

    async def test_the_disk_is_named_after_the_vm(self, driver: Storage) -> None:
        assert driver.disk_path(FLEET, 250).endswith("/spv-250")

    async def test_facts_count_bytes(self, driver: Storage) -> None:
        facts = await driver.facts()
        assert facts.description
        assert 0 < facts.free_bytes <= facts.total_bytes


class TestRealDisks:
    """What only a storage that has images can show."""

    @pytest.fixture(params=sorted(HOSTS.keys() - {"hollow"}))
    def host(self, request: pytest.FixtureRequest) -> Iterator[Host]:
        with HOSTS[request.param]() as opened:
            yield opened

    async def test_a_missing_image_is_named(self, driver: Storage) -> None:
        done, failures = await gather(driver.clone(batch(IndexSet.span(0, 2), spec("gone"))))
        assert (done, [one.kind for one in failures]) == (EMPTY, ["image_missing"] * 2)
        assert "golden@gone" in failures[0].message
        assert await driver.listing() == ()

    async def test_an_image_outside_the_pool_is_refused(self, driver: Storage) -> None:
        done, failures = await gather(driver.clone(batch(IndexSet.of([0]), spec("../g"))))
        assert (done, failures[0].kind, failures[0].retry) == (EMPTY, "bad_spec", False)

    async def test_a_larger_disk_is_made(self, driver: Storage) -> None:
        vms = batch(IndexSet.of([0]), spec(size=2 * SIZE))
        assert await gather(driver.clone(vms)) == (vms.indices, ())


class TestFiles:
    """Clones as files."""

    @pytest.fixture(params=["copied", *(["shared"] if REFLINK_FOLDER else [])])
    def host(self, request: pytest.FixtureRequest) -> Iterator[FileHost]:
        with file_host(REFLINK_FOLDER if request.param == "shared" else None) as opened:
            yield opened

    async def test_content_and_holes_are_the_images(self, host: FileHost, driver: Storage) -> None:
        await gather(driver.clone(batch(IndexSet.of([0]))))
        golden, clone = host.folder / reflink.IMAGES / "golden@g", host.clone("spv-0")
        assert clone.read_bytes() == golden.read_bytes()
        assert clone.stat().st_blocks * 512 < SIZE // 2
        clone.write_bytes(b"changed")
        assert golden.read_bytes().startswith(b"golden")

    async def test_a_full_disk_leaves_nothing_behind(
        self, host: FileHost, driver: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_files: int) -> bool:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(reflink_files, "reflink", full)
        done, failures = await gather(driver.clone(batch(IndexSet.span(0, 3))))
        assert (done, [one.kind for one in failures]) == (EMPTY, ["no_space"] * 3)
        assert list((host.folder / reflink.CLONES).iterdir()) == []

    async def test_what_a_killed_agent_left_is_swept(self, host: FileHost, driver: Storage) -> None:
        host.clone("x").parent.mkdir()
        left = host.clone(f".spv-9{reflink.PART_SUFFIX}")
        left.write_text("half")
        assert await driver.listing() == ()
        assert not left.exists()

    async def test_a_folder_that_is_gone_is_the_drivers_error(
        self, host: FileHost, driver: Storage
    ) -> None:
        await driver.listing()
        moved = host.folder.rename(host.folder.with_name(f"{host.folder.name}-moved"))
        calls: list[Callable[[], object]] = [
            driver.listing,
            driver.facts,
            lambda: gather(driver.clone(batch(IndexSet.of([0])))),
        ]
        for call in calls:
            with pytest.raises(DriverError, match="cannot keep clones in"):
                await call()  # type: ignore[misc]
        moved.rename(host.folder)
        assert await driver.listing() == ()

    async def test_facts_say_whether_blocks_are_shared(self, driver: Storage) -> None:
        facts = await driver.facts()
        assert facts.description.startswith(("reflink on ", "copy (no reflink) on "))


class TestZfsOverFakeCalls:
    """What the driver makes of ZFS's answers."""

    @pytest.fixture
    def host(self) -> FakeZfsHost:
        return FakeZfsHost(FakeZfs())

    async def test_marks_are_given_with_the_clone(self, host: FakeZfsHost, driver: Storage) -> None:
        await gather(driver.clone(batch(IndexSet.of([250]))))
        assert host.calls.volumes_by_name["tank/spv-250"] == {
            "uid": FLEET.uid,
            "index": "250",
            "generation": "3",
            "birth": "41",
            "term": "1:10",
            "epoch": "1:20",
        }

    async def test_a_node_that_never_comes(self, host: FakeZfsHost) -> None:
        host.calls.looks_until_node = 1_000_000
        driver = ZfsStorage("tank", calls=host.calls, node_seconds=0.2)
        done, failures = await gather(driver.clone(batch(IndexSet.span(0, 2))))
        assert (done, [one.kind for one in failures]) == (EMPTY, ["node_missing"] * 2)
        assert "/dev/zvol/tank/spv-0" in failures[0].message
        # The clones stay, and count once their nodes are there.
        host.calls.looks_until_node = 0
        assert await gather(driver.clone(batch(IndexSet.span(0, 2)))) == (IndexSet.span(0, 2), ())
        await driver.close()

    async def test_a_node_of_another_size_does_not_count(self, host: FakeZfsHost) -> None:
        driver = ZfsStorage("tank", calls=host.calls, node_seconds=0.2)
        await gather(driver.clone(batch(IndexSet.of([0]))))
        grown = batch(IndexSet.of([0]), spec(size=2 * SIZE))
        done, failures = await gather(driver.clone(grown))
        assert (done, failures[0].kind) == (EMPTY, "node_missing")
        await driver.close()

    async def test_a_busy_volume_is_tried_again(self, host: FakeZfsHost, driver: Storage) -> None:
        vms = batch(IndexSet.span(0, 3))
        await gather(driver.clone(vms))
        host.calls.busy = {"tank/spv-1": 2}
        assert await gather(driver.destroy(vms)) == (vms.indices, ())

    async def test_a_volume_that_stays_busy_is_given_up(
        self, host: FakeZfsHost, driver: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fleet_agent.drivers.zfs.BUSY_WAITS", (0.0, 0.0))
        vms = batch(IndexSet.span(0, 3))
        await gather(driver.clone(vms))
        host.calls.busy = {"tank/spv-1": 1000}
        done, failures = await gather(driver.destroy(vms))
        assert (done, [(one.index, one.kind) for one in failures]) == (
            IndexSet.of([0, 2]),
            [(1, "busy")],
        )
        assert await driver.listing() == (CloneRun(KIN, IndexSet.of([1])),)

    async def test_a_full_pool(self, host: FakeZfsHost, driver: Storage) -> None:
        host.calls.room = 3
        done, failures = await gather(driver.clone(batch(IndexSet.span(0, 5))))
        assert len(done) == 3
        assert [one.kind for one in failures] == ["no_space"] * 2

    async def test_a_pool_that_is_gone_is_the_drivers_error(
        self, host: FakeZfsHost, driver: Storage
    ) -> None:
        host.calls.imported = False
        calls: list[Callable[[], object]] = [
            driver.listing,
            driver.facts,
            lambda: gather(driver.clone(batch(IndexSet.of([0])))),
            lambda: gather(driver.destroy(batch(IndexSet.of([0])))),
        ]
        for call in calls:
            with pytest.raises(DriverError):
                await call()  # type: ignore[misc]

    async def test_a_mark_inherited_from_the_parent_is_none(
        self, host: FakeZfsHost, driver: Storage
    ) -> None:
        await gather(driver.clone(batch(IndexSet.of([0]))))
        inherited = host.calls.volumes_by_name["tank/spv-0"]
        host.calls.volumes_by_name["tank/golden"] = inherited
        assert await driver.listing() == (CloneRun(KIN, IndexSet.of([0])),)
