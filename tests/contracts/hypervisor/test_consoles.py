"""What all Consoles do alike: hollow guests, and domains of libvirt with ptys and logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleet.ranges import IndexSet
from fleet_agent.drivers.ports.consoles import CannotType, Console, Feed, NoSuchVm
from tests.contracts.hypervisor.console_hosts import (
    CONSOLE_HOSTS,
    ConsoleHost,
    Reader,
    hypervisor_of,
)
from tests.contracts.hypervisor.hypervisor_hosts import FLEET, OTHER, batch, gather

READY = b"megafleet: ready name=spv-3 index=3\r\n"


@pytest.fixture(params=sorted(CONSOLE_HOSTS))
async def host(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ConsoleHost]:
    made = CONSOLE_HOSTS[request.param](tmp_path)
    await made.define(3, 4)
    await made.start(3)
    yield made
    await made.close()


async def opened(
    host: ConsoleHost, index: int = 3, last_bytes: int = 4096
) -> tuple[Console, Reader]:
    feed = Feed()
    return await host.consoles.open(FLEET.uid, index, feed, last_bytes), Reader(feed)


async def test_a_reader_begins_with_what_was_printed_last(host: ConsoleHost) -> None:
    console, reader = await opened(host)
    await reader.until(READY)
    assert console.name == "spv-3"
    console.close()


async def test_what_is_typed_is_answered_and_every_reader_sees_it(host: ConsoleHost) -> None:
    first, reading = await opened(host, last_bytes=0)
    second, also_reading = await opened(host, last_bytes=0)
    await first.resize(24, 80)
    await first.type(b"id")
    await first.type(b"\r")
    for reader in (reading, also_reading):
        await reader.until(b"name=spv-3 index=3\r\n")
        assert READY not in reader.data
    first.stop_typing()
    reading.data = b""
    await second.type(b"\r")
    await reading.until(b"name=spv-3 index=3\r\n")
    first.close()
    second.close()


async def test_the_last_bytes_begin_with_a_line(host: ConsoleHost) -> None:
    assert await host.consoles.last(FLEET.uid, 3, 100_000) == (
        b"megafleet: a hollow guest, of no kernel\r\n" + READY
    )
    assert await host.consoles.last(FLEET.uid, 3, len(READY) + 5) == READY
    assert await host.consoles.last(FLEET.uid, 3, 0) == b""


@pytest.mark.parametrize(
    ("uid", "index"),
    [(FLEET.uid, 5), (OTHER.uid, 3), ("no uid", 3), ("", 3), (FLEET.uid, 2**31)],
)
async def test_what_is_not_a_vm_of_ours_is_not_opened(
    host: ConsoleHost, uid: str, index: int
) -> None:
    with pytest.raises(NoSuchVm):
        await host.consoles.open(uid, index, Feed(), 0)
    with pytest.raises(NoSuchVm):
        await host.consoles.last(uid, index, 100)


async def test_one_that_does_not_run_is_read_and_takes_nothing(host: ConsoleHost) -> None:
    console, reader = await opened(host, index=4)
    with pytest.raises(CannotType, match="spv-4 does not run"):
        await console.type(b"id\r")
    with pytest.raises(CannotType):
        await console.resize(24, 80)
    await host.start(4)
    await reader.until("spv-4 was started")
    await reader.until(b"ready name=spv-4 index=4")
    await console.type(b"\r")
    await reader.until(b"name=spv-4 index=4\r\n")
    console.close()


async def test_it_is_followed_into_its_next_life(host: ConsoleHost) -> None:
    console, reader = await opened(host, last_bytes=0)
    await console.type(b"id\r")
    await reader.until(b"name=spv-3")
    host.end(3)
    await reader.until("spv-3 has ended")
    await host.start(3)
    await reader.until("spv-3 was started")
    await reader.until(READY)
    reader.data = b""
    await console.type(b"id\r")
    await reader.until(b"name=spv-3 index=3\r\n")
    console.close()


async def test_the_log_outlives_the_end(host: ConsoleHost) -> None:
    """Of a hollow guest nothing is kept; of a real one all is there."""
    host.end(3)
    data = await host.consoles.last(FLEET.uid, 3, 4096)
    assert data in (b"", b"megafleet: a hollow guest, of no kernel\r\n" + READY)


async def test_undefined_it_is_no_vm_any_more(host: ConsoleHost) -> None:
    await gather(hypervisor_of(host).undefine(batch(IndexSet.of([4]))))
    with pytest.raises(NoSuchVm):
        await opened(host, index=4)


async def test_closed_consoles_end_their_readers_with_the_host(host: ConsoleHost) -> None:
    _, reader = await opened(host)
    await reader.until(READY)
    await host.consoles.close()
    assert await reader.feed.next() is None
