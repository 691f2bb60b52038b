"""Overlays under a real libvirt's own users and labels, where MEGAFLEET_QEMU_URI names one whose
domains named qemu-disks-* the tests may make: defined, read back, opened by a starting QEMU."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fleet.identity import Fleet
from fleet.keys import Epoch, Kin, Term
from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.model import Batch, Mark
from fleet_agent.drivers.files.images import FileImages
from fleet_agent.drivers.files.storage import CLONES, IMAGES, FileStorage
from fleet_agent.drivers.files.ways import OVERLAYS
from fleet_agent.drivers.libvirt.accelerator import a_kernel
from fleet_agent.drivers.libvirt.hypervisor import LibvirtHypervisor, console_log_of
from tests.contracts.images.image_hosts import brought, disk_of, order
from tests.contracts.storage.storage_hosts import gather

QEMU_URI = os.environ.get("MEGAFLEET_QEMU_URI", "")
FLEET = Fleet("8e3a4f62-6a0c-4b3e-9d51-0f6a4c1b7d77", "qemu-disks", 7, site=1)
KERNEL = a_kernel()

pytestmark = [
    pytest.mark.skipif(not QEMU_URI, reason="MEGAFLEET_QEMU_URI names no libvirt"),
    pytest.mark.skipif(KERNEL is None, reason="/boot has no kernel that may be read"),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that QEMU's user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="megafleet-qemu-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
async def storage(folder: Path) -> AsyncIterator[FileStorage]:
    opened = FileStorage(folder, ways=OVERLAYS)
    yield opened
    await opened.close()


@pytest.fixture
async def hypervisor(folder: Path) -> AsyncIterator[LibvirtHypervisor]:
    opened = LibvirtHypervisor(QEMU_URI, flavour=Flavour.TCG, console_log=console_log_of(QEMU_URI))
    yield opened
    await opened.close()


@pytest.fixture
async def golden(folder: Path) -> Path:
    source = folder / "source"
    source.write_bytes(disk_of(b"golden" * 1000).ljust(1 << 20, b"\0"))
    images = FileImages(folder)
    await brought(images, order(source))
    await images.close()
    return folder / IMAGES / "golden@g"


def vms() -> Batch:
    spec = types.FleetSpec(
        image=types.Image(name="golden", snapshot="g"),
        memory_bytes=96 << 20,
        vcpus=1,
        boot=types.Boot(kernel=str(KERNEL), cmdline="console=ttyS0"),
        disk=types.Disk(target="vda"),
    )
    return Batch(
        FLEET, Kin(FLEET.uid, 1, 1), spec, Mark(Term(1, 1), Epoch(1, 1)), IndexSet.span(0, 2)
    )


def content_and_owner(image: Path) -> tuple[bytes, int, int]:
    held = image.stat()
    return hashlib.sha256(image.read_bytes()).digest(), held.st_uid, held.st_mode


async def test_overlays_of_one_image_are_opened_by_qemus_user_and_the_image_stays_its_owners(
    folder: Path, storage: FileStorage, hypervisor: LibvirtHypervisor, golden: Path
) -> None:
    two = vms()
    assert await gather(storage.clone(two)) == (two.indices, ())
    before = content_and_owner(golden)
    try:
        for _ in range(2):  # the second finds what the first has made to be what it wants
            assert await gather(hypervisor.define(two, storage.disk)) == (two.indices, ())
        assert await gather(hypervisor.start(two)) == (two.indices, ())
        assert content_and_owner(golden) == before
        assert await gather(hypervisor.stop(two)) == (two.indices, ())
        # Started anew from what is defined, with the disk that it names.
        assert await gather(hypervisor.start(two)) == (two.indices, ())
    finally:
        assert await gather(hypervisor.undefine(two)) == (two.indices, ())
    assert await gather(storage.destroy(two)) == (two.indices, ())
    assert content_and_owner(golden) == before
    assert os.listdir(folder / CLONES) == []
