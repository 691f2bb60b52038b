"""What golden images are on ZFS: volumes as sources, further snapshots, and what a killed agent
leaves; over a fake of its calls, whose volumes are real files."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from fleet.ranges import IndexSet
from fleet_agent.core.images import ImageName
from fleet_agent.drivers.ports.images import (
    BadSource,
    ImageError,
    ImageMismatch,
    Images,
    NoSuchImage,
    NotAnImage,
    PoolFull,
)
from fleet_agent.drivers.zfs.calls import DIGEST
from fleet_agent.drivers.zfs.image_calls import IMPORTING
from tests.contracts.images.image_hosts import (
    MIB,
    FakeZfsImageHost,
    brought,
    disk_of,
    fake_zfs_host,
    order,
)
from tests.contracts.images.zfs_images_fake import FakeZfsImages
from tests.contracts.storage.storage_hosts import batch, gather, spec

WRONG = f"sha256:{'0' * 64}"


@pytest.fixture
def host() -> Iterator[FakeZfsImageHost]:
    with fake_zfs_host() as opened:
        yield opened


@pytest.fixture
def calls(host: FakeZfsImageHost) -> FakeZfsImages:
    return host.calls


@pytest.fixture
async def images(host: FakeZfsImageHost) -> AsyncIterator[Images]:
    opened = host.images()
    yield opened
    await opened.close()


def volume(calls: FakeZfsImages, name: str, content: bytes, *snapshots: str) -> None:
    """One that somebody made by hand."""
    calls.create(name, MIB, "")
    calls.properties[name] = {}
    write(calls, name, content)
    for snapshot in snapshots:
        calls.snapshot(f"{name}@{snapshot}", {})


def write(calls: FakeZfsImages, name: str, content: bytes) -> None:
    with calls.node_path(name).open("r+b") as file:
        file.write(content)


def content(calls: FakeZfsImages, name: str, count: int) -> bytes:
    with calls.node_path(name).open("rb") as file:
        return file.read(count)


@pytest.mark.parametrize("source", ["tank/other", "tank/other@s"])
async def test_a_volume_or_its_snapshot_becomes_an_image(
    calls: FakeZfsImages, images: Images, source: str
) -> None:
    volume(calls, "tank/other", b"other", "s")
    before = set(calls.zfs.sizes)
    made = (await brought(images, order(source))).image
    assert made is not None and (made.source, made.size) == (source, MIB)
    assert content(calls, "tank/golden@g", 5) == b"other"
    assert set(calls.zfs.sizes) == before | {"tank/golden", "tank/golden@g"}
    assert not calls.properties["tank/golden"]


async def test_a_volumes_snapshot_may_become_a_larger_image(
    calls: FakeZfsImages, images: Images
) -> None:
    volume(calls, "tank/other", b"other", "s")
    made = (await brought(images, order("tank/other@s", size=2 * MIB))).image
    assert made is not None and made.size == 2 * MIB
    with pytest.raises(BadSource, match="does not fit"):
        await brought(images, order("tank/other@s", snapshot="h", size=MIB // 2))


async def test_what_is_no_volume_is_refused(calls: FakeZfsImages, images: Images) -> None:
    calls.filesystems |= {"tank/home", "tank/taken"}
    with pytest.raises(BadSource, match="give the absolute path of a directory"):
        await brought(images, order("tank/home"))
    with pytest.raises(BadSource, match="no dataset tank/gone"):
        await brought(images, order("tank/gone"))
    with pytest.raises(NotAnImage, match="is no volume"):
        await brought(images, order("tank/gone", name="taken"))


async def test_an_image_made_by_hand_gets_its_digest_recorded(
    host: FakeZfsImageHost, calls: FakeZfsImages, images: Images
) -> None:
    volume(calls, "tank/golden", b"by hand", "g")
    held = (await images.holdings()).images
    assert [(one.image, one.digest) for one in held] == [(ImageName("golden", "g"), "")]
    storage = host.storage()
    template = spec()
    template.image.digest = WRONG
    _, failures = await gather(storage.clone(batch(IndexSet.of([0]), template)))
    assert failures[0].kind == "image_mismatch" and "images import" in failures[0].message

    recorded = (await brought(images, order("tank/golden@g"))).image
    assert recorded is not None and recorded.digest
    template.image.digest = recorded.digest
    vms = batch(IndexSet.of([0]), template)
    assert await gather(storage.clone(vms)) == (vms.indices, ())
    await storage.close()
    assert set(calls.zfs.sizes) == {"tank/golden", "tank/golden@g", "tank/spv-0"}


async def test_a_further_snapshot_is_written_into_the_volume(
    host: FakeZfsImageHost, calls: FakeZfsImages, images: Images
) -> None:
    volume(calls, "tank/golden", b"one" * 100_000, "1")
    larger = host.sources / "two.raw"
    larger.write_bytes(two := disk_of(b"two".ljust(2 * MIB, b"\0")))
    made = (await brought(images, order(larger, snapshot="2"))).image
    assert made is not None and made.size == 2 * MIB
    assert content(calls, "tank/golden@1", 6) == b"oneone"
    assert content(calls, "tank/golden@2", 2 * MIB) == two
    assert not calls.properties["tank/golden"].get(IMPORTING)


async def test_a_further_snapshot_that_fails_leaves_the_volume_as_it_was(
    host: FakeZfsImageHost, calls: FakeZfsImages, images: Images
) -> None:
    volume(calls, "tank/golden", b"one", "1")
    source = host.sources / "two.raw"
    source.write_bytes(disk_of(b"two"))
    calls.fails["snapshot"] = errno.ENOSPC
    with pytest.raises(PoolFull):
        await brought(images, order(source, snapshot="2"))
    assert content(calls, "tank/golden", 3) == b"one"
    assert set(calls.zfs.sizes) == {"tank/golden", "tank/golden@1"}
    calls.fails.clear()
    write(calls, "tank/golden", b"changed by hand")
    with pytest.raises(NotAnImage, match="written to since its latest snapshot"):
        await brought(images, order(source, snapshot="2"))
    assert content(calls, "tank/golden", 7) == b"changed"


@pytest.mark.parametrize("call", ["create", "snapshot", "rename"])
async def test_a_call_that_fails_leaves_nothing(
    host: FakeZfsImageHost, calls: FakeZfsImages, images: Images, call: str
) -> None:
    source = host.sources / "disk.raw"
    source.write_bytes(disk_of(os.urandom(1000)))
    calls.fails[call] = errno.EIO
    with pytest.raises(ImageError, match=f"cannot import {source}: cannot {call}"):
        await brought(images, order(source))
    assert calls.zfs.sizes == {}


async def test_a_snapshot_taken_of_the_source_goes_when_the_import_fails(
    calls: FakeZfsImages, images: Images
) -> None:
    volume(calls, "tank/other", b"other")
    calls.fails["receive"] = errno.ENOSPC
    with pytest.raises(PoolFull):
        await brought(images, order("tank/other"))
    calls.fails.clear()
    with pytest.raises(ImageMismatch):
        await brought(images, order("tank/other", digest=WRONG))
    assert set(calls.zfs.sizes) == {"tank/other"}


async def test_what_a_killed_agent_left_is_removed_and_nothing_else(
    calls: FakeZfsImages, images: Images
) -> None:
    volume(calls, "tank/golden", b"golden", "g")
    volume(calls, "tank/other", b"other", "megafleet-import-notours")
    volume(calls, "tank/_import-notours", b"foreign")
    kept = set(calls.zfs.sizes)
    calls.create("tank/_import-staged", MIB, "tank")
    calls.snapshot("tank/_import-staged@h", {DIGEST: WRONG})
    calls.snapshot("tank/other@megafleet-import-sent", {IMPORTING: "tank"})
    calls.set_properties("tank/golden", {IMPORTING: "tank"})
    write(calls, "tank/golden", b"half of another")
    calls.create("tank/emptied", MIB, "tank")  # its deletion had come half-way

    held = await images.holdings()

    assert [str(one.image) for one in held.images] == [
        "golden@g",
        "other@megafleet-import-notours",
    ]
    assert set(calls.zfs.sizes) == kept
    assert content(calls, "tank/golden", 6) == b"golden"
    assert not calls.properties["tank/golden"].get(IMPORTING)


async def test_only_images_are_removed(
    host: FakeZfsImageHost, calls: FakeZfsImages, images: Images
) -> None:
    volume(calls, "tank/golden", b"golden", "g", "h")
    storage = host.storage()
    await gather(storage.clone(batch(IndexSet.of([0]))))
    await storage.close()
    calls.zfs.sizes["tank/spv-0@s"] = MIB  # somebody's snapshot of a VM's disk
    calls.created["tank/spv-0@s"] = 99
    with pytest.raises(NotAnImage):
        await images.delete(ImageName("spv-0", "s"))
    with pytest.raises(NoSuchImage):
        await images.delete(ImageName("golden", "gone"))
    await images.delete(ImageName("golden", "h"))
    assert set(calls.zfs.sizes) == {"tank/golden", "tank/golden@g", "tank/spv-0", "tank/spv-0@s"}


async def test_what_was_written_after_the_last_snapshot_stays(
    calls: FakeZfsImages, images: Images
) -> None:
    volume(calls, "tank/golden", b"golden", "g")
    write(calls, "tank/golden", b"by hand")
    await images.delete(ImageName("golden", "g"))
    assert set(calls.zfs.sizes) == {"tank/golden"}


async def test_a_volume_without_snapshot_is_not_written_over(
    host: FakeZfsImageHost, calls: FakeZfsImages, images: Images
) -> None:
    volume(calls, "tank/golden", b"by hand")
    source = host.sources / "disk.raw"
    source.write_bytes(disk_of(b"other"))
    with pytest.raises(NotAnImage, match="without a snapshot"):
        await brought(images, order(source))
    assert content(calls, "tank/golden", 7) == b"by hand"
