"""What the GuestFiles port promises, of each adapter."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from fleet.guest_commands.answers import Answer
from fleet.guest_commands.files_out import MOST_OPEN, Coming
from fleet.ranges import IndexSet
from fleet.v1 import copies_pb2 as wire
from fleet_agent.drivers.ports import guest_files as port
from fleet_agent.drivers.ports.guest_files import GuestFile, NotTaken, WantedFile
from tests.contracts.guest_commands.command_hosts import (
    FILES_HOSTS,
    OFF,
    RUNNING,
    UID,
    FilesHost,
)
from tests.doubles.agent_guests import PROGRAM

_NO_AGENT = pytest.mark.skipif(PROGRAM is None, reason="qemu-guest-agent is not installed")
# Of more than two parts.
CONTENT = bytes(range(256)) * 600


@pytest.fixture(params=["hollow", pytest.param("agents", marks=_NO_AGENT)])
async def host(request: pytest.FixtureRequest) -> AsyncIterator[FilesHost]:
    async with FILES_HOSTS[request.param]() as made:
        yield made


def file(path: str, content: bytes = CONTENT, mode: int = 0o640) -> GuestFile:
    return GuestFile(path, mode, content, hashlib.sha256(content).digest(), 20.0)


async def put(host: FilesHost, indices: IndexSet, what: GuestFile) -> dict[int, Answer]:
    """By index; each is told once."""
    found: dict[int, Answer] = {}
    async with aclosing(host.files.put(UID, indices, what)) as answered:
        async for some, answer in answered:
            assert not found.keys() & set(some)
            found |= dict.fromkeys(some, answer)
    return found


@pytest.mark.parametrize("content", [b"", b"one\n", CONTENT])
async def test_each_guest_has_the_file_and_tells_the_digest_of_what_it_has(
    host: FilesHost, content: bytes
) -> None:
    what = file(f"{host.folder}/it is 'here'; $(x)", content)
    assert await put(host, RUNNING, what) == dict.fromkeys(RUNNING, what.copied)
    for index in RUNNING:
        assert host.held(index, what.path) == (0o640, what.digest)


async def test_what_was_there_is_replaced_with_another_mode(host: FilesHost) -> None:
    path, one = f"{host.folder}/x", IndexSet.span(0, 1)
    await put(host, one, file(path, b"older and longer", 0o600))
    newer = file(path, b"newer", 0o755)
    assert await put(host, one, newer) == {0: newer.copied}
    assert host.held(0, path) == (0o755, newer.digest)


async def test_a_guest_without_an_agent_that_answers_is_told_as_that(host: FilesHost) -> None:
    what = file(f"{host.folder}/x")
    found = await put(host, RUNNING | OFF | IndexSet.span(9, 11), what)
    assert {index for index, answer in found.items() if answer == what.copied} == set(RUNNING)
    assert {found[index] for index in (4, 9, 10)} == {port.NO_AGENT}


async def test_where_it_cannot_be_is_told_with_the_reason(host: FilesHost) -> None:
    (nowhere,) = set((await put(host, RUNNING, file(f"{host.folder}/no/such"))).values())
    assert nowhere.reason.startswith(port.NO_FOLDER)
    (folder,) = set((await put(host, RUNNING, file(host.folder))).values())
    assert folder.reason.startswith(port.IS_FOLDER)
    assert host.held(0, f"{host.folder}/no/such") is None


async def get(
    host: FilesHost, indices: IndexSet, path: str, most: int = 1 << 20
) -> tuple[dict[int, Answer], dict[int, bytes]]:
    """What each guest answers, and the files that came whole."""
    coming: dict[int, tuple[Coming, bytearray]] = {}
    found: dict[int, Answer] = {}
    whole: dict[int, bytes] = {}

    async def take(part: wire.FilePart) -> None:
        one, content = coming.setdefault(part.index, (Coming(most), bytearray()))
        assert len(coming) <= MOST_OPEN and part.index not in whole.keys() | found.keys()
        one.add(part)
        content.extend(part.data)
        if part.HasField("end"):
            assert part.end.digest == hashlib.sha256(content).digest() and not part.end.changed
            whole[part.index] = bytes(coming.pop(part.index)[1])

    async with aclosing(host.files.get(UID, indices, WantedFile(path, most, 20.0), take)) as told:
        async for some, answer in told:
            assert not found.keys() & set(some)
            found |= dict.fromkeys(some, answer)
    assert {index for index, answer in found.items() if answer == port.SENT} == whole.keys()
    return found, whole


@pytest.mark.parametrize("size", [0, 7, 65536, 65537, 150_000])
async def test_each_guests_own_file_comes_whole(host: FilesHost, size: int) -> None:
    path = f"{host.folder}/{size}"
    content = {index: host.content(index, path) for index in RUNNING}
    assert all(len(one) == size for one in content.values())
    assert await get(host, RUNNING, path, max(size, 1)) == (
        dict.fromkeys(RUNNING, port.SENT),
        content,
    )


async def test_guests_without_an_agent_or_without_the_file_are_told(host: FilesHost) -> None:
    found, whole = await get(host, OFF | IndexSet.span(9, 11), f"{host.folder}/x")
    assert found == dict.fromkeys((4, 9, 10), port.NO_AGENT) and not whole
    found, whole = await get(host, RUNNING, f"{host.folder}/no/such")
    assert found == dict.fromkeys(RUNNING, Answer.failed(port.NO_FILE)) and not whole
    found, whole = await get(host, RUNNING, host.folder)
    assert found == dict.fromkeys(RUNNING, Answer.failed(port.IS_FOLDER)) and not whole


async def test_a_file_that_is_longer_than_asked_for_is_told_and_never_whole(
    host: FilesHost,
) -> None:
    path = f"{host.folder}/100001"
    host.content(0, path)
    found, whole = await get(host, IndexSet.span(0, 1), path, 100_000)
    assert found == {0: port.too_large(100_000)} and not whole


async def test_it_ends_where_nobody_takes_what_is_read(host: FilesHost) -> None:
    path = f"{host.folder}/10"
    host.content(0, path)

    async def take(_: wire.FilePart) -> None:
        raise NotTaken("nobody does")

    wanted = WantedFile(path, 100, 20.0)
    with pytest.raises(NotTaken):
        async with aclosing(host.files.get(UID, RUNNING, wanted, take)) as told:
            _ = [one async for one in told]
