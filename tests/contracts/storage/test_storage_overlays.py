"""Clones as qcow2 overlays, as qemu-img reads them, and folders that hold clones of all kinds."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.domain.disks import Disk, DiskFormat
from fleet_agent.core.model import CloneRun
from fleet_agent.drivers.files import calls as file_calls
from fleet_agent.drivers.files import overlays
from fleet_agent.drivers.files.images import FileImages
from fleet_agent.drivers.files.storage import IMAGES, FileStorage
from fleet_agent.drivers.files.ways import FOR_ALL, FOR_QEMU, OVERLAYS
from fleet_agent.drivers.images import tools as image_tools
from fleet_agent.drivers.images.content import CHUNK
from fleet_agent.drivers.lanes import ActFailed
from fleet_agent.drivers.ports.images import BadSource
from fleet_agent.drivers.ports.storage import Storage
from tests.contracts.images.image_hosts import brought, order, qcow2_of
from tests.contracts.storage.storage_hosts import (
    KIN,
    SIZE,
    FileHost,
    batch,
    file_host,
    gather,
    spec,
)


@pytest.fixture
def host() -> Iterator[FileHost]:
    with file_host(ways=OVERLAYS) as opened:
        yield opened


@pytest.fixture
async def driver(host: FileHost) -> AsyncIterator[Storage]:
    opened = host.driver()
    yield opened
    await opened.close()


def golden(host: FileHost) -> Path:
    return host.folder / IMAGES / "golden@g"


def qemu(program: str, *arguments: str) -> str:
    return subprocess.run([program, *arguments], check=True, capture_output=True, text=True).stdout


def chain(overlay: Path) -> list[dict[str, Any]]:
    """What qemu-img finds of files behind one another, the overlay first."""
    told = qemu("qemu-img", "info", "--backing-chain", "--output=json", str(overlay))
    found: list[dict[str, Any]] = json.loads(told)
    return found


def content(overlay: Path, to: Path) -> bytes:
    """As its VM reads it."""
    qemu("qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(overlay), str(to))
    return to.read_bytes()


def write_first_sector(overlay: Path) -> None:
    qemu("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 512", str(overlay))


def hostile_header(names: str) -> bytes:
    """The beginning of a qcow2 that says it lies over another file."""
    backing = names.encode()
    return struct.pack(">4sIQIIQI", b"QFI\xfb", 3, 512, len(backing), 16, 1 << 20, 0).ljust(
        512, b"\0"
    ) + backing.ljust(512, b"\0")


async def test_an_overlay_reads_as_its_image_and_takes_no_room(
    host: FileHost, driver: Storage, tmp_path: Path
) -> None:
    await gather(driver.clone(batch(IndexSet.of([0]))))
    clone = host.clone("spv-0")
    assert content(clone, tmp_path / "raw") == golden(host).read_bytes()
    assert clone.stat().st_blocks * 512 < 64 * 1024


async def test_what_a_vm_writes_is_its_own_and_the_image_stays(
    host: FileHost, driver: Storage, tmp_path: Path
) -> None:
    await gather(driver.clone(batch(IndexSet.span(0, 2))))
    before = golden(host).read_bytes()
    write_first_sector(host.clone("spv-0"))
    assert content(host.clone("spv-0"), tmp_path / "raw")[:512] == b"\7" * 512
    assert content(host.clone("spv-1"), tmp_path / "raw") == before
    assert golden(host).read_bytes() == before


async def test_nobody_may_write_to_what_overlays_lie_over_and_all_may_read_it(
    host: FileHost, driver: Storage
) -> None:
    await gather(driver.clone(batch(IndexSet.of([0]))))
    assert golden(host).stat().st_mode & 0o777 == 0o444


async def test_a_larger_disk_is_larger_in_the_overlay(
    host: FileHost, driver: Storage, tmp_path: Path
) -> None:
    await gather(driver.clone(batch(IndexSet.of([0]), spec(size=2 * SIZE))))
    whole = content(host.clone("spv-0"), tmp_path / "raw")
    assert whole == golden(host).read_bytes().ljust(2 * SIZE, b"\0")


async def test_the_disk_says_its_format_and_what_it_lies_over(
    host: FileHost, driver: Storage
) -> None:
    vms = batch(IndexSet.of([0]))
    await gather(driver.clone(vms))
    assert driver.disk(vms, 0) == Disk(
        str(host.clone("spv-0")), DiskFormat.QCOW2, str(golden(host))
    )


async def test_chains_are_one_deep_even_over_an_image_that_looks_like_an_overlay(
    host: FileHost, driver: Storage
) -> None:
    with golden(host).open("r+b") as image:
        image.write(hostile_header("/etc/hostname"))
        file_calls.write_image_fields(image.fileno(), {"digest": "as imported", "source": "/x"})
    await gather(driver.clone(batch(IndexSet.of([0]))))
    assert [(one["filename"], one["format"]) for one in chain(host.clone("spv-0"))] == [
        (str(host.clone("spv-0")), "qcow2"),
        (str(golden(host)), "raw"),
    ]


async def test_a_qcow2_put_among_the_images_by_hand_is_to_be_imported(
    host: FileHost, driver: Storage
) -> None:
    with golden(host).open("r+b") as image:
        image.write(hostile_header(""))
    done, failures = await gather(driver.clone(batch(IndexSet.of([0]))))
    assert (done, failures[0].kind, failures[0].retry) == (EMPTY, "image_mismatch", False)
    assert "golden@g is a qcow2 that was put there by hand" in failures[0].message


async def test_a_qcow2_among_the_images_is_not_imported_where_it_lies(host: FileHost) -> None:
    """Its digest would be that of what it holds, and it would be served as it is."""
    raw, there = host.folder / "raw", golden(host)
    there.rename(raw)
    qcow2_of(raw, there)
    os.setxattr(there, "user.x", b"")  # as it was put there by hand: without a digest
    images = FileImages(host.folder)
    with pytest.raises(BadSource, match="is a qcow2, and images there are raw: move it away"):
        await brought(images, order(there))
    assert not file_calls.image_fields(there)
    await images.close()


async def test_who_wants_the_images_alone_waits_for_those_before_and_not_for_those_after(
    host: FileHost,
) -> None:
    images, turn = host.folder / IMAGES, host.folder / "clones"
    turn.mkdir(exist_ok=True)
    order_of_events: list[str] = []
    waits = threading.Event()

    def alone() -> None:
        waits.set()
        with file_calls.held(images, turn=turn, alone=True):
            order_of_events.append("alone")

    def later() -> None:
        with file_calls.held(images, turn=turn, alone=False):
            order_of_events.append("later")

    with ThreadPoolExecutor(2) as pool:
        with file_calls.held(images, turn=turn, alone=False):
            first = pool.submit(alone)
            while not _is_locked(turn):  # until it queues
                waits.wait()
            second = pool.submit(later)
            order_of_events.append("first")
        first.result(20)
        second.result(20)
    assert order_of_events == ["first", "alone", "later"]


def _is_locked(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


async def test_one_qemu_img_makes_the_overlays_of_an_image(
    host: FileHost, driver: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Sequence[str]] = []
    begin = image_tools.begun

    def counted(command: Sequence[str], **ways: Any) -> Any:
        begun.append(command)
        return begin(command, **ways)

    monkeypatch.setattr(image_tools, "begun", counted)
    vms = batch(IndexSet.span(0, 40))
    assert await gather(driver.clone(vms)) == (vms.indices, ())
    assert await driver.listing() == (CloneRun(KIN, vms.indices),)
    assert len(begun) == 1


async def test_a_host_without_qemu_img_is_told_which_package_has_it(
    driver: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(image_tools, "_SBIN", ())
    done, failures = await gather(driver.clone(batch(IndexSet.of([0]))))
    assert (done, failures[0].kind) == (EMPTY, "storage_error")
    assert "making overlays takes qemu-img" in failures[0].message
    assert "install qemu-utils" in failures[0].message


async def test_an_image_cannot_be_removed_while_a_clone_of_it_is_made(
    host: FileHost, driver: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[bool] = []
    write = overlays.write_overlay

    def while_locked(target: int, content: bytes) -> None:
        folder = os.open(host.folder / IMAGES, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked.append(False)
        except BlockingIOError:
            locked.append(True)
        finally:
            os.close(folder)
        write(target, content)

    monkeypatch.setattr(overlays, "write_overlay", while_locked)
    await gather(driver.clone(batch(IndexSet.of([0]))))
    assert locked == [True]


async def test_a_folder_may_hold_clones_of_all_kinds(host: FileHost, driver: Storage) -> None:
    copying = FileStorage(host.folder, ways=FOR_ALL)
    older, newer = batch(IndexSet.of([0])), batch(IndexSet.of([1]))
    await gather(copying.clone(older))
    await copying.close()
    await gather(driver.clone(newer))
    both = batch(IndexSet.span(0, 2))
    assert [driver.disk(both, index).format for index in (0, 1)] == ["raw", "qcow2"]
    assert await gather(driver.clone(both)) == (both.indices, ())
    assert await driver.listing() == (CloneRun(KIN, both.indices),)
    assert await gather(driver.destroy(both)) == (both.indices, ())


async def test_a_format_that_is_not_known_is_not_guessed(host: FileHost, driver: Storage) -> None:
    vms = batch(IndexSet.of([0]))
    await gather(driver.clone(vms))
    os.setxattr(host.clone("spv-0"), "user.megafleet.format", b"vmdk")
    with pytest.raises(ActFailed, match=r"cannot tell what .*spv-0 is: 'vmdk'"):
        driver.disk(vms, 0)


async def test_a_guests_header_on_a_raw_disk_names_no_file_of_the_host(host: FileHost) -> None:
    copying = FileStorage(host.folder, ways=FOR_ALL)
    vms = batch(IndexSet.of([0]))
    await gather(copying.clone(vms))
    clone = host.clone("spv-0")
    with clone.open("r+b") as disk:
        disk.write(hostile_header("/etc/hostname"))
    assert copying.disk(vms, 0) == Disk(str(clone), DiskFormat.RAW)
    images = FileImages(host.folder)
    with pytest.raises(BadSource, match="a qcow2 that refers to another file"):
        await brought(images, order(clone, name="taken"))
    await images.close()
    await copying.close()


async def test_facts_say_that_overlays_are_made_and_why() -> None:
    with file_host(ways=FOR_QEMU) as host:
        driver = host.driver()
        told = (await driver.facts()).description
        await driver.close()
    assert told.startswith(("reflink on ", "qcow2 overlay (no reflink) on "))


# A disk that is full ------------------------------------------------------------------------------


@pytest.fixture(params=["copies", "overlays"])
def small_host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FileHost]:
    """A host on a file system of its own, of a few MiB."""
    if os.geteuid() != 0:
        pytest.skip("a file system of its own takes root")
    whole, mount = tmp_path / "disk", tmp_path / "mount"
    whole.write_bytes(b"")
    os.truncate(whole, 8 << 20)
    mount.mkdir()
    qemu("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", str(whole))
    tried = subprocess.run(["mount", "-o", "loop", str(whole), str(mount)], capture_output=True)
    if tried.returncode:
        pytest.skip(f"no loop device can be mounted here: {tried.stderr.decode().strip()}")
    try:
        with file_host(str(mount), FOR_ALL if request.param == "copies" else OVERLAYS) as host:
            yield host
    finally:
        qemu("umount", str(mount))


def fill(file: Path, leave: int) -> None:
    """All room of the file system but so many bytes."""
    space = os.statvfs(file.parent)
    with file.open("wb") as filler:
        left = space.f_bavail * space.f_frsize - leave
        while left > 0:
            left -= filler.write(b"x" * min(left, CHUNK))


async def test_a_full_disk_in_mid_clone_is_named_and_the_rest_is_made_once_there_is_room(
    small_host: FileHost,
) -> None:
    driver = small_host.driver()
    filler = small_host.folder / "filler"
    vms = batch(IndexSet.span(0, 30))
    await gather(driver.clone(batch(IndexSet.of([99]))))
    fill(filler, leave=100 * 1024)
    done, failures = await gather(driver.clone(vms))
    assert done and failures
    assert {one.kind for one in failures} == {"no_space"}
    assert all(one.retry for one in failures)
    for one in failures:
        clone = small_host.clone(f"spv-{one.index}")
        assert one.message == f"cannot make {clone}: No space left on device"
        assert not clone.exists()
    assert not [one for one in small_host.clone("x").parent.iterdir() if one.name.startswith(".")]
    assert await driver.listing() == (CloneRun(KIN, done | IndexSet.of([99])),)
    filler.unlink()
    assert await gather(driver.clone(vms)) == (vms.indices, ())
    await driver.close()
