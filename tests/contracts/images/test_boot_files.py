"""Kernels and initrds of images on a host: each its own, as long as its image is there."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from fleet.image_content.boot_files import boot_file, boot_files
from fleet.image_content.manifest import CHUNK, Manifest
from fleet.image_content.packing import packed
from fleet_agent.core.images import ImageName
from fleet_agent.drivers.files.images import FileImages
from fleet_agent.drivers.images import contents as module
from fleet_agent.drivers.images import staged_content
from fleet_agent.drivers.images.contents import StagedContents
from fleet_agent.drivers.images.staged_content import OpenParts
from fleet_agent.drivers.images.watched import WatchedImages
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.ports.image_content import ImageContent
from fleet_agent.drivers.ports.images import ImageExists
from tests.contracts.images.image_hosts import disk_of
from tests.doubles.image_manifests import manifest_for

GOLDEN = ImageName("golden", "2")
DISK = disk_of(os.urandom(CHUNK))


class Host:
    def __init__(self, folder: Path) -> None:
        self.kernels = folder / "kernels"
        self.images = FileImages(folder)
        self.contents = StagedContents(
            self.images, folder / "fetched", self.kernels, self.images.opened
        )
        self.watched = WatchedImages(self.images, self.contents, lambda: None)

    async def put(self, image: ImageName = GOLDEN, disk: bytes = DISK, **boot: bytes) -> Manifest:
        manifest = manifest_for(disk=disk, **boot)
        content = await self.contents.begun(manifest, image)
        try:
            for number in sorted(set(manifest.filled()) - content.present):
                place = manifest.place(number)
                whole = disk if place.part.name == "disk" else boot[place.part.name]
                await content.write(number, packed(whole[place.offset :][: place.size]))
            async with aclosing(content.keep(image, "", "a test")) as keeping:
                async for _ in keeping:
                    pass
        finally:
            await content.close()
        return manifest

    def kernel(self, image: ImageName = GOLDEN) -> bytes:
        return (self.kernels / boot_file(*image, "kernel")).read_bytes()

    def names(self) -> set[str]:
        return set(os.listdir(self.kernels))

    async def told(self, image: ImageName = GOLDEN) -> Manifest:
        content = await self.contents.of_image(image)
        await content.close()
        return content.manifest


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    made = Host(tmp_path)
    yield made
    await made.contents.close()
    await made.images.close()


def test_no_two_images_have_one_file() -> None:
    names = [ImageName("web", "1-2"), ImageName("web-1", "2"), ImageName("web.1", "2")]
    files = {file for image in names for file in boot_files(*image)}
    assert len(files) == 2 * len(names)


async def test_what_is_refused_leaves_the_kernel_of_the_image_that_is_there(host: Host) -> None:
    await host.put(kernel=b"the first")
    with pytest.raises(ImageExists):
        await host.put(disk=disk_of(os.urandom(CHUNK)), kernel=b"another", initrd=b"more")
    assert host.kernel() == b"the first" and host.names() == {"golden+2.kernel"}


async def test_what_an_image_does_not_have_any_more_is_removed(host: Host) -> None:
    await host.put(kernel=b"the first", initrd=b"with it")
    assert host.names() == set(boot_files(*GOLDEN))
    await host.put(kernel=b"the second")
    assert host.kernel() == b"the second" and host.names() == {"golden+2.kernel"}
    await host.put()
    assert host.names() == set()


async def test_a_kernel_goes_with_its_image_and_no_other_file_does(host: Host) -> None:
    await host.put(kernel=b"the first")
    (host.kernels / "vmlinuz").write_bytes(b"somebody's")
    other = ImageName("golden-2", "2")
    await host.put(other, kernel=b"another")
    await host.watched.delete(GOLDEN)
    assert host.names() == {"vmlinuz", "golden-2+2.kernel"}


async def test_an_image_whose_kernel_cannot_be_removed_is_deleted_all_the_same(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    await host.put(kernel=b"the first")

    async def refused(image: ImageName) -> None:
        raise DriverError("read only")

    monkeypatch.setattr(host.contents, "forget", refused)
    await host.watched.delete(GOLDEN)
    assert (await host.images.holdings()).images == ()


async def test_another_kernel_is_noticed_whoever_has_put_it(host: Host) -> None:
    first = await host.put(kernel=b"the first")
    assert await host.told() == first
    kernel = host.kernels / boot_file(*GOLDEN, "kernel")
    kernel.write_bytes(b"2nd")
    assert (await host.told()).root == manifest_for(disk=DISK, kernel=b"2nd").root


async def test_what_is_known_of_an_image_is_not_read_anew(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    await host.put(kernel=b"the first")
    first = await host.told()

    def anew(*_: object) -> Manifest:
        raise AssertionError("it was read anew")

    monkeypatch.setattr(module, "_manifest", anew)
    assert await host.told() == first


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


async def test_whoever_is_cancelled_while_an_image_is_opened_leaves_no_file_open(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = await host.put(kernel=b"the first")
    before = open_files()
    reading, going, ended = threading.Event(), threading.Event(), threading.Event()
    whole = StagedContents._whole
    checked = staged_content.whole_chunks

    def opened(self: StagedContents, image: ImageName, digest: str) -> OpenParts:
        parts = whole(self, image, digest)
        reading.set()
        assert going.wait(20)
        ended.set()
        return parts

    def checking(parts: OpenParts) -> set[int]:
        reading.set()
        assert going.wait(20)
        found = checked(parts)
        ended.set()
        return found

    monkeypatch.setattr(StagedContents, "_whole", opened)
    monkeypatch.setattr(module, "whole_chunks", checking)

    async def ask(of: str) -> ImageContent:
        if of == "an image":
            return await host.contents.of_image(GOLDEN)
        return await host.contents.begun(manifest, GOLDEN)

    for of in ("an image", "what was begun"):
        for event in (reading, going, ended):
            event.clear()
        asking = asyncio.create_task(ask(of))
        await asyncio.to_thread(reading.wait, 20)
        asking.cancel()
        await asyncio.wait([asking])
        going.set()
        await asyncio.to_thread(ended.wait, 20)
        await host.contents.discard(set(), 1e9)  # after whatever the threads had to do
        await host.contents.discard(set(), 1e9)
        del asking
        assert open_files() == before, of


async def test_a_file_is_closed_only_after_whoever_reads_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number may be another file's by then."""
    await host.put(kernel=b"the first")
    content = await host.contents.of_image(GOLDEN)
    reading, going = threading.Event(), threading.Event()
    pread = os.pread

    def slow(file: int, size: int, offset: int) -> bytes:
        reading.set()
        assert going.wait(20)
        return pread(file, size, offset)

    monkeypatch.setattr(os, "pread", slow)
    asked = asyncio.create_task(content.read(0))
    await asyncio.to_thread(reading.wait, 20)
    await content.close()
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
    going.set()
    try:
        assert (await asked).data == packed(DISK[:CHUNK]).data
    finally:
        for file in others:
            os.close(file)
    with pytest.raises(DriverError, match="not open"):
        await content.read(0)
