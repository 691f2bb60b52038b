"""What only real logs and ptys can show: descriptors, holes, restarts, guests that do not read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import tty
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fleet.ranges import IndexSet
from fleet.texts.guest_patterns import guest_pattern
from fleet_agent.core.console_log import LAG_BYTES, LogPosition
from fleet_agent.drivers.consoles import file as console_file
from fleet_agent.drivers.consoles import follower as console_follower
from fleet_agent.drivers.consoles import tty as console_tty
from fleet_agent.drivers.consoles.file import bound, end_of, glance
from fleet_agent.drivers.consoles.tail import ConsoleTail, last_lines
from fleet_agent.drivers.libvirt.console.libvirt_consoles import tty_of
from fleet_agent.drivers.libvirt.console.sweep import ConsoleSweep
from fleet_agent.drivers.libvirt.marks import OurDomains
from fleet_agent.drivers.ports.consoles import FEED_BYTES, CannotType, Feed, NoSuchVm
from fleet_agent.drivers.ports.errors import DriverError
from tests.contracts.hypervisor.console_hosts import DEADLINE, LibvirtConsoleHost, Reader
from tests.contracts.hypervisor.hypervisor_hosts import FLEET, batch, foreign_xml, gather

LIMIT = 64 * 1024
LINE = b"a line of what a guest prints\n"


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[LibvirtConsoleHost]:
    made = LibvirtConsoleHost(tmp_path)
    await made.define(3)
    await made.start(3)
    yield made
    await made.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_250_followed_consoles_take_few_descriptors(host: LibvirtConsoleHost) -> None:
    await host.consoles.last(FLEET.uid, 3, 1)  # the threads and their pipes are there
    others = range(1000, 1249)
    await host.define(*others)
    for index in others:
        host.log(index).write_bytes(b"before\n")
    before = descriptors()
    readers = {}
    consoles = []
    for index in (3, *others):
        readers[index] = Reader(Feed())
        consoles.append(await host.consoles.open(FLEET.uid, index, readers[index].feed, 0))
    for index in others:
        with host.log(index).open("ab") as log:
            log.write(b"news\n")
    for index in others:
        await readers[index].until(b"news\n")
    assert descriptors() - before <= 4
    for console in consoles:
        console.close()


async def test_a_reader_needs_no_descriptor_and_a_writer_one(host: LibvirtConsoleHost) -> None:
    reader = Reader(Feed())
    console = await host.consoles.open(FLEET.uid, 3, reader.feed, 0)
    tty = host.guest(3).tty
    assert held(tty) == 1  # xenconsoled's own
    await console.type(b"id\r")
    assert held(tty) == 2
    console.stop_typing()
    assert held(tty) == 1
    console.close()


def held(tty: str) -> int:
    found = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{number}") == tty
        except FileNotFoundError:  # the listing's own
            continue
    return found


async def test_window_and_bytes_arrive_as_they_were_typed(host: LibvirtConsoleHost) -> None:
    console = await host.consoles.open(FLEET.uid, 3, Feed(), 0)
    await console.resize(50, 132)
    assert host.guest(3).window == (50, 132)
    everything = bytes(range(256)) * 64
    await console.type(everything)
    assert await asyncio.to_thread(host.guest(3).until_typed, len(everything))
    assert host.guest(3).typed == everything
    console.close()


async def test_a_guest_that_does_not_read_is_given_up(
    host: LibvirtConsoleHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_tty, "PATIENCE", 0.1)
    host.guest(3).stop_reading()
    console = await host.consoles.open(FLEET.uid, 3, Feed(), 0)
    with pytest.raises(CannotType, match="spv-3 does not read what is typed"):
        await console.type(bytes(200_000))
    console.close()
    assert held(host.guest(3).tty) == 1


async def test_typing_ends_while_it_waits_for_the_guest(host: LibvirtConsoleHost) -> None:
    host.guest(3).stop_reading()
    console = await host.consoles.open(FLEET.uid, 3, Feed(), 0)
    await console.type(b"x")  # opens it
    typing = asyncio.create_task(console.type(bytes(200_000)))
    await asyncio.sleep(0)  # let it begin
    assert held(host.guest(3).tty) == 2 and not typing.done()
    typing.cancel()
    await asyncio.wait([typing])
    console.close()
    assert held(host.guest(3).tty) == 1


async def test_a_foreign_domain_with_our_uuid_is_not_opened(host: LibvirtConsoleHost) -> None:
    host.host.connection.defineXML(foreign_xml("guest", str(FLEET.domain_uuid(9))))
    with pytest.raises(NoSuchVm):
        await host.consoles.open(FLEET.uid, 9, Feed(), 0)


async def test_without_libvirt_logs_are_followed_on(host: LibvirtConsoleHost) -> None:
    reader = Reader(Feed())
    console = await host.consoles.open(FLEET.uid, 3, reader.feed, 0)
    host.host.cut()
    host.host.reachable = False
    host.guest(3).print(b"still here\n")
    await reader.until(b"still here")
    with pytest.raises(DriverError):
        await host.consoles.open(FLEET.uid, 3, Feed(), 0)
    host.host.reachable = True
    console.close()


async def test_a_libvirtd_that_hangs_holds_up_no_reader(
    host: LibvirtConsoleHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answers = threading.Event(), threading.Event()

    def hanging() -> dict[str, int]:
        asked.set()
        answers.wait(DEADLINE)
        return {}

    reader = Reader(Feed())
    monkeypatch.setattr(console_follower, "LIVES_INTERVAL", 0.01)
    monkeypatch.setattr(host.consoles._follower, "_lives", hanging)  # type: ignore[attr-defined]
    console = await host.consoles.open(FLEET.uid, 3, reader.feed, 0)
    assert await asyncio.to_thread(asked.wait, DEADLINE)
    host.guest(3).print(b"still here\n")
    await reader.until(b"still here")
    answers.set()
    await reader.until("spv-3 has ended")
    console.close()


async def test_whoever_comes_as_the_last_one_leaves_is_served(host: LibvirtConsoleHost) -> None:
    for turns in range(4):
        first = await host.consoles.open(FLEET.uid, 3, Feed(), 0)
        first.close()
        for _ in range(turns):
            await asyncio.sleep(0)
        reader = Reader(Feed())
        second = await host.consoles.open(FLEET.uid, 3, reader.feed, 0)
        host.guest(3).print(b"news\n")
        await reader.until(b"news\n")
        second.close()


async def test_a_reader_that_is_far_behind_skips_and_is_told(host: LibvirtConsoleHost) -> None:
    reader = Reader(Feed())
    console = await host.consoles.open(FLEET.uid, 3, reader.feed, 0)
    host.guest(3).print(LINE * 100_000 + b"the end\n")
    await reader.until(b"the end\n")
    assert any("bytes of output were skipped here" in notice for notice in reader.notices)
    assert len(reader.data) <= LAG_BYTES + FEED_BYTES
    console.close()


def test_the_tty_is_found_in_the_live_definition() -> None:
    from fleet_agent.core.domain.domain_mark import parsed

    xen = "<domain><devices><console type='pty' tty='/dev/pts/7'/></devices></domain>"
    assert tty_of(parsed(xen)) == "/dev/pts/7"
    assert tty_of(parsed("<domain><devices><console type='pty'/></devices></domain>")) == ""


@pytest.mark.parametrize("path", ["/dev/pts/../mem", "/dev/mem", "", "/dev/pts/x"])
def test_nothing_but_a_pty_is_opened(path: str) -> None:
    with pytest.raises(CannotType):
        console_tty.Tty(path, "spv-3")


# ---- logs that are bounded -----------------------------------------------------------------


def taken(path: Path) -> int:
    return os.stat(path).st_blocks * 512


def grown(path: Path, lines: int = 10_000) -> bytes:
    data = LINE * lines + b"last but one\nthe last line\n"
    with path.open("ab") as log:
        log.write(data)
        os.fsync(log.fileno())
    return data


@pytest.fixture(params=["holes", "no holes"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    def refused(_log: int, _length: int) -> None:
        raise OSError(95, "Operation not supported")

    if request.param == "no holes":
        monkeypatch.setattr(console_file, "_punch", refused)
    return str(request.param)


def test_a_long_log_is_bounded_and_its_end_stays(tmp_path: Path, file_system: str) -> None:
    log = tmp_path / "guest-spv-3.log"
    data = grown(log)
    assert bound(log, LIMIT) > 0
    assert taken(log) <= LIMIT // 2 + 4096
    kept = log if file_system == "holes" else tmp_path / "guest-spv-3.log.1"
    assert last_lines(kept).endswith("last but one / the last line")
    if file_system == "holes":
        assert log.stat().st_size == len(data)
        _, end = end_of(log, 1_000_000)
        assert data.endswith(end) and LIMIT // 2 - 4096 <= len(end) <= LIMIT // 2 + 4096
        assert end.startswith(LINE)
    assert bound(log, LIMIT) == 0


def test_short_logs_and_absent_ones_are_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert bound(log, LIMIT) == 0
    data = grown(log, 10)
    assert bound(log, LIMIT) == 0 and log.read_bytes() == data


def test_a_reader_in_what_was_freed_goes_on_behind_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    data = grown(log, 8_000)  # within what a reader may be behind
    assert len(data) < LAG_BYTES
    place = LogPosition(log.stat().st_ino, 100)
    freed = bound(log, LIMIT)
    seen = glance(log, place, FEED_BYTES)
    assert seen.data and b"\0" not in seen.data and data.endswith(seen.data)
    assert seen.notice == f"{freed - 100:,} bytes of output were skipped here"
    assert glance(log, seen.place, FEED_BYTES).data == b""


def test_a_pattern_is_found_behind_a_hole_from_a_remembered_place(tmp_path: Path) -> None:
    log = tmp_path / "log"
    grown(log)
    tail = ConsoleTail(log, log.stat().st_ino, 50)
    bound(log, LIMIT)
    assert tail.shows(guest_pattern("the last line"))
    assert tail.read == log.stat().st_size


@pytest.mark.parametrize(
    ("pattern", "pieces"),
    [
        (r"\[\s+OK\s+\] Reached target", ["[\x1b[0;32m  OK  \x1b[0m] Reached \x1b[1;39mtarget\n"]),
        ("^login: $", ["booting\r\n", "login: "]),
        ("^ready$", ["50 %\rready\r\n"]),
        ("^ready name=a$", ["\x1b]0;a title\x07re", "ady name=", "a"]),
        ("^ready$", ["\x1b[3", "2mready\x1b[0", "m\r\nmore\r\n"]),
    ],
    ids=["colours", "a prompt", "written over", "in pieces", "escapes in pieces"],
)
def test_a_pattern_is_found_in_a_line_as_a_person_reads_it(
    pattern: str, pieces: list[str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    tail = ConsoleTail(log)
    found = []
    for piece in pieces:
        with log.open("a", newline="") as file:
            file.write(piece)
        found.append(tail.shows(guest_pattern(pattern)))
    assert any(found)


def test_a_pattern_is_not_found_across_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("re\nady\n")
    assert not ConsoleTail(log).shows(guest_pattern("^ready$"))
    assert not ConsoleTail(log).shows(guest_pattern("re.*ady"))


def test_the_rest_of_an_old_log_comes_before_the_new_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one two\n")
    place = LogPosition(log.stat().st_ino, 4)
    log.rename(tmp_path / "log.1")
    log.write_bytes(b"three\n")
    first = glance(log, place, 100)
    assert (first.data, first.replaced) == (b"two\n", False)
    second = glance(log, first.place, 100)
    assert (second.data, second.replaced) == (b"", True)
    assert glance(log, second.place, 100).data == b"three\n"


async def test_the_sweep_bounds_our_logs_and_no_others(host: LibvirtConsoleHost) -> None:
    host.host.connection.defineXML(foreign_xml("foreign"))
    theirs = host.driver.host_paths.console("foreign")
    for log in (host.log(3), theirs):
        grown(log)
    before = taken(theirs)
    reader = Reader(Feed())
    console = await host.consoles.open(FLEET.uid, 3, reader.feed, 100)
    link = host.driver.link
    sweep = ConsoleSweep(link, host.driver.host_paths, OurDomains(link), LIMIT)
    assert await asyncio.to_thread(sweep.sweep) == 1
    assert await asyncio.to_thread(sweep.sweep) == 0
    assert taken(host.log(3)) <= LIMIT and taken(theirs) == before
    await console.type(b"id\r")
    await reader.until(b"name=spv-3 index=3\r\n")
    assert reader.notices == []
    console.close()
    host.host.cut()
    host.host.reachable = False
    assert await asyncio.to_thread(sweep.sweep) == 0
    host.host.reachable = True


async def test_marks_are_read_once_a_life(
    host: LibvirtConsoleHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    ours = OurDomains(host.driver.link)
    real: Callable[..., object] = ours._read

    def counted(domain: object) -> object:
        read.append(domain.name())  # type: ignore[attr-defined]
        return real(domain)

    monkeypatch.setattr(ours, "_read", counted)
    for _ in range(3):
        with host.driver.link.talk() as connection:
            assert [vm.index for _, vm in ours.listed(connection)] == [3]
    assert read == ["spv-3"]
    host.end(3)
    with host.driver.link.talk() as connection:
        ours.listed(connection)
    assert read == ["spv-3", "spv-3"]


async def test_an_undefined_vm_leaves_no_logs(host: LibvirtConsoleHost) -> None:
    old = host.log(3).with_name(host.log(3).name + ".1")
    old.write_bytes(b"the life before\n")
    host.log(4).write_bytes(b"another's\n")
    host.end(3)
    assert await gather(host.driver.undefine(batch(IndexSet.of([3])))) == (IndexSet.of([3]), ())
    assert not host.log(3).exists() and not old.exists()
    assert host.log(4).exists()


async def test_a_guest_of_qemu_prints_on_while_somebody_types() -> None:
    """QEMU stops its guest's serial port while its pty is open and full."""
    master, slave = os.openpty()
    os.set_blocking(master, False)
    tty.setraw(slave)
    typing = console_tty.Tty(os.ttyname(slave), "spv-3", drains=True)
    try:
        written = 0
        async with asyncio.timeout(DEADLINE):
            while written < 1 << 20:
                with contextlib.suppress(BlockingIOError):
                    written += os.write(master, b"x" * 4096)
                await asyncio.sleep(0)
        await typing.write(b"typed")
        assert os.read(master, 100) == b"typed"
    finally:
        typing.close()
        os.close(master)
        os.close(slave)
