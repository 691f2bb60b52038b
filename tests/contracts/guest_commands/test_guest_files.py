"""What the GuestFiles port promises, of each adapter."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from fleet.guest_commands.answers import Answer
from fleet.ranges import IndexSet
from fleet_agent.drivers.ports import guest_files as port
from fleet_agent.drivers.ports.guest_files import GuestFile
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
