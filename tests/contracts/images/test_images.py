"""What every adapter of golden images does alike, and what every one that has bytes does."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.images import BLOCK, ImageName
from fleet_agent.drivers.images import content as image_content
from fleet_agent.drivers.ports.images import (
    BadSource,
    Image,
    ImageExists,
    ImageInUse,
    ImageMismatch,
    Images,
    NoSuchImage,
    PoolFull,
    Space,
    ToolMissing,
)
from fleet_agent.drivers.ports.storage import Storage
from tests.contracts.images.image_hosts import (
    HOSTS,
    MIB,
    ImageHost,
    brought,
    disk_of,
    file_in,
    order,
    qcow2_of,
    qemu_img,
)
from tests.contracts.storage.storage_hosts import FLEET, batch, gather

NAME = ImageName("golden", "g")
WRONG = f"sha256:{'0' * 64}"


@pytest.fixture(params=sorted(HOSTS))
def host(request: pytest.FixtureRequest) -> Iterator[ImageHost]:
    with HOSTS[request.param]() as opened:
        yield opened


@pytest.fixture
async def images(host: ImageHost) -> AsyncIterator[Images]:
    opened = host.images()
    yield opened
    await opened.close()


@pytest.fixture
async def storage(host: ImageHost) -> AsyncIterator[Storage]:
    opened = host.storage()
    yield opened
    await opened.close()


@pytest.fixture
def raw(host: ImageHost) -> Path:
    """Half a MiB of content in 3 MiB, with holes, and an end within a block."""
    file = host.sources / "disk.raw"
    with file.open("wb") as out:
        out.write(disk_of(os.urandom(MIB // 4)))
        out.seek(MIB)
        out.write(os.urandom(MIB // 4))
        out.truncate(3 * MIB + 100)
    return file


def _padded(raw: Path) -> tuple[int, str]:
    """Size and digest of a file's content with zeros up to whole blocks."""
    content = raw.read_bytes()
    size = -(-len(content) // BLOCK) * BLOCK
    return size, f"sha256:{hashlib.sha256(content.ljust(size, bytes(1))).hexdigest()}"


def known(image: Image | None) -> Image | None:
    """All of it but the space, which settles some seconds after it was written."""
    return replace(image, space=Space()) if image else None


def _read_later(tree: Path) -> None:
    """Give all in it a time of last access that reading does not change."""
    for path in (tree, *tree.rglob("*")):
        later = path.stat().st_mtime + 1000
        os.utime(path, (later, path.stat().st_mtime))


def spec(digest: str = "") -> types.FleetSpec:
    image = types.Image(name="golden", snapshot="g", digest=digest)
    return types.FleetSpec(image=image, disk=types.Disk(target="xvda"))


class TestImages:
    """The contract."""

    async def test_an_imported_image_is_listed_with_its_digest_and_source(
        self, images: Images, raw: Path
    ) -> None:
        last = await brought(images, order(raw))
        made = last.image
        assert made is not None and (made.image, made.clones) == (NAME, 0)
        assert made.source == str(raw) and made.digest.startswith("sha256:")
        assert made.size % BLOCK == 0 and last.done == last.total
        held = await images.holdings()
        assert list(map(known, held.images)) == [known(made)]
        assert 0 < held.pool.free <= held.pool.total

    async def test_the_same_again_is_done_and_other_content_is_refused(
        self, host: ImageHost, images: Images, raw: Path
    ) -> None:
        first = (await brought(images, order(raw))).image
        assert first is not None
        assert known((await brought(images, order(raw))).image) == known(first)
        again = (await brought(images, order(raw, digest=first.digest))).image
        assert known(again) == known(first)
        other = host.sources / "other.raw"
        other.write_bytes(disk_of(b"other" * 10_000))
        with pytest.raises(ImageExists, match="choose another snapshot name"):
            await brought(images, order(other))
        assert list(map(known, (await images.holdings()).images)) == [known(first)]
        again = (await brought(images, order(other, snapshot="h"))).image
        assert again is not None and again.digest != first.digest
        held = await images.holdings()
        assert [(one.image.snapshot, one.digest) for one in held.images] == [
            ("g", first.digest),
            ("h", again.digest),
        ]

    async def test_a_wrong_digest_is_refused_and_leaves_nothing(
        self, images: Images, raw: Path
    ) -> None:
        with pytest.raises(ImageMismatch, match=WRONG):
            await brought(images, order(raw, digest=WRONG))
        assert (await images.holdings()).images == ()

    async def test_an_image_with_clones_is_not_removed(
        self, images: Images, storage: Storage, raw: Path
    ) -> None:
        await brought(images, order(raw))
        vms = batch(IndexSet.span(0, 3), spec())
        assert await gather(storage.clone(vms)) == (vms.indices, ())
        with pytest.raises(ImageInUse, match="3 clones"):
            await images.delete(NAME)
        held = await images.holdings()
        assert held.images[0].clones == 3
        assert [(one.uid, one.clones) for one in held.fleets] == [(FLEET.uid, 3)]
        assert held.fleets[0].space.referenced >= held.fleets[0].space.unique
        await gather(storage.destroy(vms))
        await images.delete(NAME)
        held = await images.holdings()
        assert (held.images, held.fleets) == ((), ())
        with pytest.raises(NoSuchImage, match="golden@g"):
            await images.delete(NAME)

    async def test_clones_are_made_only_of_the_digest_asked_for(
        self, images: Images, storage: Storage, raw: Path
    ) -> None:
        made = (await brought(images, order(raw))).image
        assert made is not None
        vms = batch(IndexSet.span(0, 2), spec(WRONG))
        done, failures = await gather(storage.clone(vms))
        assert done == EMPTY
        assert {(one.kind, one.retry) for one in failures} == {("image_mismatch", False)}
        assert made.digest in failures[0].message
        right = batch(vms.indices, spec(made.digest))
        assert await gather(storage.clone(right)) == (vms.indices, ())

    async def test_images_are_known_to_the_next_adapter(self, host: ImageHost, raw: Path) -> None:
        first = host.images()
        made = (await brought(first, order(raw))).image
        await first.close()
        second = host.images()
        assert list(map(known, (await second.holdings()).images)) == [known(made)]
        await second.close()


class TestRealImages:
    """What only an adapter that keeps bytes can show."""

    @pytest.fixture(params=sorted(HOSTS.keys() - {"hollow"}))
    def host(self, request: pytest.FixtureRequest) -> Iterator[ImageHost]:
        with HOSTS[request.param]() as opened:
            yield opened

    async def test_the_digest_is_that_of_the_whole_disk(self, images: Images, raw: Path) -> None:
        made = (await brought(images, order(raw))).image
        assert made is not None
        assert (made.size, made.digest) == _padded(raw)

    async def test_zeros_take_no_room(self, host: ImageHost, images: Images) -> None:
        zeros = host.sources / "zeros.raw"
        zeros.write_bytes(bytes(4 * MIB) + b"end")
        made = (await brought(images, order(zeros))).image
        assert made is not None and made.space.referenced < MIB

    async def test_a_larger_disk_ends_in_zeros(self, images: Images, raw: Path) -> None:
        made = (await brought(images, order(raw, size=8 * MIB))).image
        assert made is not None and made.size == 8 * MIB
        with pytest.raises(BadSource, match="does not fit"):
            await brought(images, order(raw, snapshot="h", size=MIB))

    async def test_a_qcow2_is_known_by_its_content(
        self, host: ImageHost, images: Images, raw: Path
    ) -> None:
        misnamed = host.sources / "disk.img"
        qcow2_of(raw, misnamed)
        made = (await brought(images, order(misnamed))).image
        same = (await brought(images, order(raw, snapshot="raw"))).image
        assert made is not None and same is not None
        assert (made.digest, made.size) == (same.digest, same.size)

    async def test_a_qcow2_that_refers_to_another_file_is_refused(
        self, host: ImageHost, images: Images, raw: Path
    ) -> None:
        overlay = host.sources / "overlay"
        qemu_img("create", "-f", "qcow2", "-F", "raw", "-b", str(raw), str(overlay))
        with pytest.raises(BadSource, match="refers to another file"):
            await brought(images, order(overlay))

    async def test_a_program_that_is_missing_is_named(
        self, host: ImageHost, images: Images, raw: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        qcow2 = host.sources / "disk.qcow2"
        qcow2_of(raw, qcow2)
        monkeypatch.setattr("shutil.which", lambda *_, **__: None)
        with pytest.raises(ToolMissing, match="install qemu-utils"):
            await brought(images, order(qcow2))

    async def test_a_directory_becomes_an_ext4_of_the_same_files(
        self, host: ImageHost, images: Images
    ) -> None:
        tree = host.sources / "tree"
        (tree / "etc").mkdir(parents=True)
        (tree / "etc" / "hostname").write_text("golden\n")
        (tree / "big").write_bytes(os.urandom(MIB))
        _read_later(tree)
        made = (await brought(images, order(tree))).image
        assert made is not None and made.size % MIB == 0
        assert file_in(host.disk("golden@g"), "/etc/hostname") == "golden\n"
        assert known((await brought(images, order(tree))).image) == known(made)
        with pytest.raises(BadSource, match="does not fit"):
            await brought(images, order(tree, snapshot="h", size=MIB // 2))

    async def test_what_cannot_be_imported_is_named(self, host: ImageHost, images: Images) -> None:
        empty = host.sources / "empty"
        empty.touch()
        for source, said in (
            (host.sources / "gone", "No such file"),
            (Path("/dev/null"), "neither a file nor a directory"),
            (empty, "is empty"),
        ):
            with pytest.raises(BadSource, match=said):
                await brought(images, order(source))
        assert (await images.holdings()).images == ()

    async def test_an_import_that_is_left_ends_and_leaves_nothing(
        self, host: ImageHost, images: Images, raw: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(image_content, "CHUNK", BLOCK)
        reached, left = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        copied = image_content._write_differing

        def held_up(target: int, offset: int, chunk: bytes, before: bytes) -> int:
            loop.call_soon_threadsafe(reached.set)
            asyncio.run_coroutine_threadsafe(left.wait(), loop).result(10)
            return copied(target, offset, chunk, before)

        monkeypatch.setattr(image_content, "_write_differing", held_up)
        async with aclosing(images.bring(order(raw))) as importing:
            told = await anext(importing)
            await reached.wait()
        left.set()
        assert told.image is None
        with pytest.raises(NoSuchImage):  # waits behind what was left
            await images.delete(NAME)
        assert (await images.holdings()).images == ()

    async def test_an_import_too_large_for_the_pool_is_refused_first(
        self, images: Images, raw: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held = image_content.content_of

        def larger(*asked: object) -> image_content.Content:
            content = held(*asked)  # type: ignore[arg-type]
            return image_content.Content(content.size, 1 << 60, content.pour)

        monkeypatch.setattr(image_content, "content_of", larger)
        with pytest.raises(PoolFull, match="free"):
            await brought(images, order(raw))

    async def test_a_pool_that_fills_up_leaves_nothing(
        self, images: Images, raw: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(image_content, "_write_differing", full)
        with pytest.raises(PoolFull, match="nothing was kept"):
            await brought(images, order(raw))
        assert (await images.holdings()).images == ()
