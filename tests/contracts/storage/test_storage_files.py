"""Clones as files: copied, and sharing blocks where MEGAFLEET_REFLINK_FOLDER can."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

import pytest

from fleet.ranges import EMPTY, IndexSet
from fleet_agent.drivers.files import calls as file_calls
from fleet_agent.drivers.files import storage as file_storage
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.ports.storage import Storage
from tests.contracts.storage.storage_hosts import (
    REFLINK_FOLDER,
    SIZE,
    FileHost,
    batch,
    file_host,
    gather,
)


@pytest.fixture(params=["copied", *(["shared"] if REFLINK_FOLDER else [])])
def host(request: pytest.FixtureRequest) -> Iterator[FileHost]:
    with file_host(REFLINK_FOLDER if request.param == "shared" else None) as opened:
        yield opened


@pytest.fixture
async def driver(host: FileHost) -> AsyncIterator[Storage]:
    opened = host.driver()
    yield opened
    await opened.close()


async def test_content_and_holes_are_the_images(host: FileHost, driver: Storage) -> None:
    await gather(driver.clone(batch(IndexSet.of([0]))))
    golden, clone = host.folder / file_storage.IMAGES / "golden@g", host.clone("spv-0")
    assert clone.read_bytes() == golden.read_bytes()
    assert clone.stat().st_blocks * 512 < SIZE // 2
    clone.write_bytes(b"changed")
    assert golden.read_bytes().startswith(b"golden")


async def test_a_full_disk_leaves_nothing_behind(
    host: FileHost, driver: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_files: int) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(file_calls, "reflink", full)
    done, failures = await gather(driver.clone(batch(IndexSet.span(0, 3))))
    assert (done, [one.kind for one in failures]) == (EMPTY, ["no_space"] * 3)
    assert list((host.folder / file_storage.CLONES).iterdir()) == []


async def test_what_a_killed_agent_left_is_swept(host: FileHost, driver: Storage) -> None:
    host.clone("x").parent.mkdir()
    left = host.clone(f".spv-9{file_storage.PART_SUFFIX}")
    left.write_text("half")
    assert await driver.listing() == ()
    assert not left.exists()


async def test_a_folder_that_is_gone_is_the_drivers_error(host: FileHost, driver: Storage) -> None:
    await driver.listing()
    moved = host.folder.rename(host.folder.with_name(f"{host.folder.name}-moved"))
    calls: list[Callable[[], Coroutine[None, None, object]]] = [
        driver.listing,
        driver.facts,
        lambda: gather(driver.clone(batch(IndexSet.of([0])))),
    ]
    for call in calls:
        with pytest.raises(DriverError, match="cannot keep clones in"):
            await call()
    moved.rename(host.folder)
    assert await driver.listing() == ()


async def test_facts_say_whether_blocks_are_shared(driver: Storage) -> None:
    facts = await driver.facts()
    assert facts.description.startswith(("reflink on ", "copy (no reflink) on "))
