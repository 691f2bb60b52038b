"""Hosts to hold the Images port against, each with a Storage that makes clones of what is there:
hollow, files, ZFS over a fake of its calls, and the real one where MEGAFLEET_ZFS_PARENT says."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.disks import CloneWay
from fleet_agent.core.images import ImportOrder, import_order
from fleet_agent.drivers.files.images import FileImages
from fleet_agent.drivers.files.storage import FileStorage
from fleet_agent.drivers.files.ways import FOR_ALL, OVERLAYS
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.images import HollowImages
from fleet_agent.drivers.hollow.profile import Profile
from fleet_agent.drivers.hollow.storage import HollowStorage
from fleet_agent.drivers.ports.images import Images, ImportProgress
from fleet_agent.drivers.ports.storage import Storage
from fleet_agent.drivers.zfs.calls import HostZfs
from fleet_agent.drivers.zfs.images import ZfsImages
from fleet_agent.drivers.zfs.nodes import NODES
from fleet_agent.drivers.zfs.storage import ZfsStorage
from tests.contracts.images.zfs_images_fake import FakeZfsImages
from tests.contracts.storage.storage_hosts import ZFS_PARENT, FakeZfs, destroy_all, zfs

MIB = 1 << 20


def order(
    source: Path | str, name: str = "golden", snapshot: str = "g", digest: str = "", size: int = 0
) -> ImportOrder:
    image = types.Image(name=name, snapshot=snapshot, digest=digest)
    return import_order(image, str(source), size)


async def brought(images: Images, asked: ImportOrder) -> ImportProgress:
    """The last word of an import."""
    told = [one async for one in images.bring(asked)]
    assert [one.image for one in told[:-1]] == [None] * (len(told) - 1)
    assert all(one.done <= one.total or not one.total for one in told)
    return told[-1]


def disk_of(content: bytes) -> bytes:
    """A disk of this content: with the signature of a partition table in its first sector."""
    return content[:510].ljust(510, b"\0") + b"\x55\xaa" + content[512:]


def qcow2_of(raw: Path, qcow2: Path) -> None:
    qemu_img("convert", "-f", "raw", "-O", "qcow2", str(raw), str(qcow2))


def file_in(disk: Path, file: str) -> str:
    """The content of a file in an ext4."""
    debugfs = shutil.which("debugfs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert debugfs is not None
    command = [debugfs, "-R", f"cat {file}", str(disk)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def qemu_img(*arguments: str) -> None:
    subprocess.run(["qemu-img", *arguments], check=True, capture_output=True)


class ImageHost(Protocol):
    """One host under test, with a folder for what is to be imported."""

    sources: Path

    def images(self) -> Images: ...

    def storage(self) -> Storage: ...

    def disk(self, image: str) -> Path:
        """Where the content of the latest image of this name can be read, given name@snapshot."""


class HollowImageHost:
    def __init__(self, sources: Path) -> None:
        self.sources = sources
        self._storage = HollowStorage(Behaviour.of(Profile(pool_bytes=1 << 40)))
        self._images = HollowImages(self._storage)

    def images(self) -> HollowImages:
        return self._images

    def storage(self) -> HollowStorage:
        return self._storage

    def disk(self, image: str) -> Path:
        raise AssertionError("it has no content")


class FileImageHost:
    def __init__(self, sources: Path, folder: Path, ways: Sequence[CloneWay] = FOR_ALL) -> None:
        self.sources = sources
        self.folder = folder
        self.ways = ways

    def images(self) -> FileImages:
        return FileImages(self.folder)

    def storage(self) -> FileStorage:
        return FileStorage(self.folder, ways=self.ways)

    def disk(self, image: str) -> Path:
        return self.folder / "images" / image

    def names(self) -> set[str]:
        """Everything in the folder of images, hidden files too."""
        return {path.name for path in (self.folder / "images").iterdir()}


class FakeZfsImageHost:
    def __init__(self, sources: Path, folder: Path) -> None:
        self.sources = sources
        self.calls = FakeZfsImages(FakeZfs(), folder)

    def images(self) -> ZfsImages:
        return ZfsImages("tank", calls=self.calls)

    def storage(self) -> ZfsStorage:
        return ZfsStorage("tank", calls=self.calls.zfs)

    def disk(self, image: str) -> Path:
        return self.calls.node_path(f"tank/{image}")


class RealZfsImageHost:
    """A dataset of its own below the one named in the environment."""

    def __init__(self, sources: Path) -> None:
        self.sources = sources
        self.parent = f"{ZFS_PARENT}/images-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        zfs("create", "-o", "volmode=dev", self.parent)

    def images(self) -> ZfsImages:
        return ZfsImages(self.parent)

    def storage(self) -> ZfsStorage:
        return ZfsStorage(self.parent)

    def disk(self, image: str) -> Path:
        name = f"{self.parent}/{image.partition('@')[0]}"
        HostZfs().link_nodes({name})
        return NODES / name

    def remove(self) -> None:
        destroy_all(self.parent)


@contextmanager
def folders() -> Iterator[tuple[Path, Path]]:
    """One for sources, one for a host."""
    folder = Path(tempfile.mkdtemp(prefix="megafleet-test-"))
    try:
        for name in ("sources", "host"):
            (folder / name).mkdir()
        yield folder / "sources", folder / "host"
    finally:
        shutil.rmtree(folder)


@contextmanager
def hollow_host() -> Iterator[ImageHost]:
    with folders() as (sources, _):
        yield HollowImageHost(sources)


@contextmanager
def file_host(ways: Sequence[CloneWay] = FOR_ALL) -> Iterator[FileImageHost]:
    with folders() as (sources, folder):
        yield FileImageHost(sources, folder, ways)


@contextmanager
def fake_zfs_host() -> Iterator[FakeZfsImageHost]:
    with folders() as (sources, folder):
        yield FakeZfsImageHost(sources, folder)


@contextmanager
def real_zfs_host() -> Iterator[RealZfsImageHost]:
    with folders() as (sources, _):
        host = RealZfsImageHost(sources)
        try:
            yield host
        finally:
            host.remove()


HOSTS: dict[str, Callable[[], AbstractContextManager[ImageHost]]] = {
    "hollow": hollow_host,
    "files": file_host,
    "overlays": lambda: file_host(OVERLAYS),
    "zfs-fake": fake_zfs_host,
}
if ZFS_PARENT:
    HOSTS["zfs"] = real_zfs_host
