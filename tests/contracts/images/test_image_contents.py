"""What every adapter promises of images' contents: files over real images, and hollow ones."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.image_content.manifest import CHUNK, Manifest, Part, chunk_digest
from fleet.image_content.packing import Packed, packed
from fleet_agent.core.images import ImageName
from fleet_agent.drivers.files.images import FileImages
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.contents import HollowContents
from fleet_agent.drivers.hollow.images import HollowImages
from fleet_agent.drivers.hollow.profile import Profile
from fleet_agent.drivers.hollow.storage import HollowStorage
from fleet_agent.drivers.images.contents import StagedContents
from fleet_agent.drivers.ports.image_content import ImageContent, ImageContents, WrongChunk
from fleet_agent.drivers.ports.images import (
    Image,
    ImageExists,
    ImageMismatch,
    Images,
    NoSuchImage,
)
from fleet_agent.drivers.zfs.images import ZfsImages
from tests.contracts.images.image_hosts import disk_of
from tests.contracts.images.zfs_images_fake import FakeZfsImages
from tests.contracts.storage.storage_hosts import FakeZfs
from tests.doubles.image_manifests import manifest_for

GOLDEN = ImageName("golden", "2")
DISK = disk_of(os.urandom(2 * CHUNK)) + bytes(CHUNK)


@dataclass
class Holder:
    contents: ImageContents
    images: Images


@pytest.fixture(params=["hollow", "files"])
async def holder(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Holder]:
    if request.param == "hollow":
        images = HollowImages(HollowStorage(Behaviour.of(Profile(pool_bytes=1 << 40))))
        yield Holder(HollowContents(images), images)
        return
    files = FileImages(tmp_path)
    kernels = tmp_path / "kernels"
    contents = StagedContents(files, tmp_path / "fetched", kernels, files.opened)
    yield Holder(contents, files)
    await contents.close()
    await files.close()


def manifest() -> Manifest:
    return manifest_for(disk=DISK, kernel=b"a kernel")


def chunk(number: int) -> Packed:
    place = manifest().place(number)
    content = DISK if place.part.name == "disk" else b"a kernel"
    return packed(content[place.offset :][: place.size])


async def filled(content: ImageContent) -> None:
    for number in sorted(set(content.manifest.filled()) - content.present):
        await content.write(number, chunk(number))


async def kept(content: ImageContent, digest: str = "") -> Image:
    async with aclosing(content.keep(GOLDEN, digest, "a test")) as keeping:
        images = [progress.image async for progress in keeping]
    assert images[-1] is not None
    return images[-1]


async def test_what_is_written_can_be_read_kept_and_read_again(holder: Holder) -> None:
    content = await holder.contents.begun(manifest(), GOLDEN)
    assert content.present == set() and content.manifest == manifest()
    await filled(content)
    assert content.present == {0, 1, 3} == set(content.manifest.filled())
    assert await content.spoiled() == set()
    made = await kept(content)
    assert (made.image, made.size, made.source) == (GOLDEN, len(DISK), "a test")
    given = await content.read(3)  # by one that came to have it just now
    await content.close()
    whole = await holder.contents.of_image(GOLDEN)
    assert whole.manifest == manifest() and whole.present == {0, 1, 3}
    assert await whole.read(3) == given
    await whole.close()


async def test_what_was_begun_is_found_again_by_its_root_alone(holder: Holder) -> None:
    first = await holder.contents.begun(manifest(), GOLDEN)
    await first.write(1, chunk(1))
    await first.close()
    again = await holder.contents.begun_before(manifest().root, GOLDEN)
    assert again is not None and again.present == {1}
    await filled(again)
    await kept(again)
    await again.close()
    assert await holder.contents.begun_before(manifest().root, GOLDEN) is None
    assert await holder.contents.begun_before(bytes(32), GOLDEN) is None


async def test_a_chunk_that_is_not_what_it_should_be_is_not_taken(holder: Holder) -> None:
    content = await holder.contents.begun(manifest(), GOLDEN)
    for wrong in (chunk(1), Packed(b"short", False), Packed(b"no zstd", True)):
        with pytest.raises(WrongChunk):
            await content.write(0, wrong)
    assert content.present == set()
    await content.close()


async def test_another_content_under_the_name_is_left_as_it_is(holder: Holder) -> None:
    content = await holder.contents.begun(manifest(), GOLDEN)
    await filled(content)
    made = await kept(content)
    await content.close()
    other = await holder.contents.begun(Manifest((Part("disk", 1, chunk_digest(b"x")),)), GOLDEN)
    await other.write(0, packed(b"x"))
    with pytest.raises(ImageExists):
        await kept(other, f"sha256:{'0' * 64}")
    await other.close()
    held = (await holder.images.holdings()).get(GOLDEN)
    assert held is not None and held.digest == made.digest


async def test_there_is_no_content_of_an_image_that_is_not_here(holder: Holder) -> None:
    with pytest.raises(NoSuchImage):
        await holder.contents.of_image(GOLDEN)


async def test_chunks_that_another_version_of_the_image_has_are_not_fetched(holder: Holder) -> None:
    content = await holder.contents.begun(manifest(), GOLDEN)
    await filled(content)
    await kept(content)
    await content.close()
    # The second chunk is another one; the first is there, and once more at the end.
    first = DISK[:CHUNK]
    newer = manifest_for(disk=first + os.urandom(CHUNK) + bytes(CHUNK) + first)
    content = await holder.contents.begun(newer, ImageName("golden", "3"))
    assert content.present == {0, 3}
    await content.close()
    again = await holder.contents.begun_before(newer.root, ImageName("golden", "3"))
    assert again is not None and again.present == {0, 3}
    await again.close()
    stranger = manifest_for(disk=first + os.urandom(2 * CHUNK))
    content = await holder.contents.begun(stranger, ImageName("another", "3"))
    assert content.present == set(), "only what has its name is read"
    await content.close()


async def test_what_was_taken_over_becomes_the_image(tmp_path: Path) -> None:
    images = FileImages(tmp_path)
    contents = StagedContents(images, tmp_path / "fetched", tmp_path / "kernels", images.opened)
    content = await contents.begun(manifest(), GOLDEN)
    await filled(content)
    await kept(content)
    await content.close()
    disk = DISK[:CHUNK] + os.urandom(CHUNK) + DISK[CHUNK : 2 * CHUNK]
    newer = manifest_for(disk=disk)
    content = await contents.begun(newer, ImageName("golden", "3"))
    assert content.present == {0, 2}
    await content.write(1, packed(disk[CHUNK : 2 * CHUNK]))
    assert await content.spoiled() == set()
    async with aclosing(content.keep(ImageName("golden", "3"), "", "a test")) as keeping:
        assert [one.image async for one in keeping][-1] is not None
    await content.close()
    assert (tmp_path / "images" / "golden@3").read_bytes() == disk
    await contents.close()
    await images.close()


async def test_an_earlier_version_that_cannot_be_read_is_no_obstacle(tmp_path: Path) -> None:
    images = FileImages(tmp_path)

    def unreadable(image: ImageName) -> int:
        raise OSError(errno.EIO, "Input/output error")

    folder, kernels = tmp_path / "fetched", tmp_path / "kernels"
    contents = StagedContents(images, folder, kernels, images.opened, unreadable)
    content = await contents.begun(manifest(), GOLDEN)
    await filled(content)
    await kept(content)
    await content.close()
    content = await contents.begun(manifest_for(disk=DISK[:CHUNK]), ImageName("golden", "3"))
    assert content.present == set()
    await content.close()
    await contents.close()
    await images.close()


async def test_of_snapshots_the_volume_that_they_are_of_is_read(tmp_path: Path) -> None:
    (tmp_path / "volumes").mkdir()
    images = ZfsImages("tank", calls=FakeZfsImages(FakeZfs(), tmp_path / "volumes"))
    contents = StagedContents(
        images, tmp_path / "fetched", tmp_path / "kernels", images.opened, images.opened_volume
    )
    disk = DISK[: 2 * CHUNK]
    content = await contents.begun(manifest_for(disk=disk), GOLDEN)
    for number in (0, 1):
        await content.write(number, packed(disk[number * CHUNK :][:CHUNK]))
    await kept(content)
    await content.close()
    newer = manifest_for(disk=disk[:CHUNK] + os.urandom(CHUNK))
    content = await contents.begun(newer, ImageName("golden", "3"))
    assert content.present == {0}
    await content.close()
    await contents.close()
    await images.close()


async def test_an_image_can_be_given_to_its_end_though_it_is_deleted(holder: Holder) -> None:
    content = await holder.contents.begun(manifest(), GOLDEN)
    await filled(content)
    await kept(content)
    await content.close()
    giving = await holder.contents.of_image(GOLDEN)
    await holder.images.delete(GOLDEN)
    assert (await giving.read(0)).data
    await giving.close()


async def test_files_become_the_image_and_a_content_that_is_not_it_leaves_nothing(
    tmp_path: Path,
) -> None:
    images = FileImages(tmp_path)
    folder = tmp_path / "fetched"
    contents = StagedContents(images, folder, tmp_path / "kernels", images.opened)
    wrong = await contents.begun(manifest(), GOLDEN)
    await filled(wrong)
    with pytest.raises(ImageMismatch):
        await kept(wrong, f"sha256:{'0' * 64}")
    await wrong.close()
    assert not list(folder.iterdir()) and not list((tmp_path / "images").iterdir())
    content = await contents.begun(manifest(), GOLDEN)
    await filled(content)
    inode = (folder / f"{manifest().root.hex()}.disk").stat().st_ino
    await kept(content)
    await content.close()
    held = tmp_path / "images" / "golden@2"
    assert held.stat().st_ino == inode and held.stat().st_nlink == 1
    assert held.read_bytes() == DISK and not list(folder.iterdir())
    await contents.close()
    await images.close()


async def test_what_nobody_took_up_again_goes_and_what_is_under_way_stays(tmp_path: Path) -> None:
    images = FileImages(tmp_path)
    folder = tmp_path / "fetched"
    contents = StagedContents(images, folder, tmp_path / "kernels", images.opened)
    content = await contents.begun(manifest(), GOLDEN)
    await content.close()
    (folder / "notes.txt").write_text("somebody's")
    await contents.discard(set(), 3600.0)
    await contents.discard({manifest().root}, -1.0)
    assert len(list(folder.iterdir())) == 4
    await contents.discard(set(), -1.0)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    await contents.close()
    await images.close()
