"""Files by qemu-guest-agent: the real one, interrupted and slow, and agents that lie."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from fleet.guest_commands.answers import Answer
from fleet.ranges import IndexSet
from fleet.v1 import commands_pb2 as wire
from fleet_agent.core.guest_commands.agent_messages import BadReply
from fleet_agent.core.guest_commands.file_messages import handle_of, read_of, written_of
from fleet_agent.drivers.libvirt.guests.guest_agents import LibvirtGuestAgents
from fleet_agent.drivers.libvirt.guests.guest_files import LibvirtGuestFiles
from fleet_agent.drivers.ports import guest_files as port
from fleet_agent.drivers.ports.guest_files import GuestFile
from tests.contracts.hypervisor.hypervisor_hosts import FLEET
from tests.doubles.agent_guests import PROGRAM, AgentGuest, AgentLink, ask

SECONDS = 20.0
CONTENT = b"x" * 200_000
needs_agent = pytest.mark.skipif(PROGRAM is None, reason="qemu-guest-agent is not installed")
Say = Callable[[Any, str, int], str]


def file(path: Path, seconds: float = SECONDS) -> GuestFile:
    return GuestFile(str(path), 0o644, CONTENT, hashlib.sha256(CONTENT).digest(), seconds)


async def copied(guest: AgentGuest, what: GuestFile, say: Say = ask) -> Answer:
    driver = LibvirtGuestAgents(AgentLink({0: guest}), say)  # type: ignore[arg-type]
    try:
        files = LibvirtGuestFiles(driver)
        async with aclosing(files.put(FLEET.uid, IndexSet.span(0, 1), what)) as answers:
            ((_, answer),) = [one async for one in answers]
        return answer
    finally:
        await driver.close()


@pytest.fixture
def guest(tmp_path: Path) -> Any:
    made = AgentGuest(tmp_path, 0)
    made.start()
    yield made
    made.end()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "it").write_text("as before")
    return tmp_path / "inside"


def is_as_before(folder: Path) -> bool:
    return [one.name for one in folder.iterdir()] == ["it"] and (
        (folder / "it").read_text() == "as before"
    )


async def test_without_a_channel_or_an_agent_it_is_told_and_nothing_is_begun(
    tmp_path: Path,
) -> None:
    without = AgentGuest(tmp_path, 0, channel=False)
    assert await copied(without, file(tmp_path / "x")) == port.NO_AGENT and not without.asked
    assert await copied(AgentGuest(tmp_path, 0), file(tmp_path / "x")) == port.NO_AGENT


@needs_agent
async def test_whoever_leaves_has_what_is_incomplete_taken_away(
    guest: AgentGuest, folder: Path
) -> None:
    loop, writing = asyncio.get_running_loop(), asyncio.Event()

    def say(domain: Any, request: str, seconds: int) -> str:
        if "guest-file-write" in request:
            loop.call_soon_threadsafe(writing.set)
        return ask(domain, request, seconds)

    copying = asyncio.create_task(copied(guest, file(folder / "it"), say))
    async with asyncio.timeout(SECONDS):
        await writing.wait()
        copying.cancel()
        await asyncio.wait([copying])
    assert copying.cancelled() and is_as_before(folder)
    asked = [one["execute"] for one in guest.asked]
    assert asked.count("guest-file-open") == asked.count("guest-file-close")


@needs_agent
async def test_a_guest_that_is_too_slow_keeps_what_it_had(guest: AgentGuest, folder: Path) -> None:
    def late(domain: Any, request: str, seconds: int) -> str:
        if "guest-file-read" in request:
            raise AssertionError("the time is over by then")
        return ask(domain, request, seconds)

    def say(domain: Any, request: str, seconds: int) -> str:
        if "guest-file-flush" in request:
            over.wait(SECONDS)
        return late(domain, request, seconds)

    import threading

    over = threading.Event()
    asyncio.get_running_loop().call_later(1.5, over.set)
    answer = await copied(guest, file(folder / "it", seconds=1.0), say)
    assert answer == port.unanswered(port.UNCHANGED) and is_as_before(folder)


@needs_agent
async def test_what_is_read_back_otherwise_is_never_put_in_place(
    guest: AgentGuest, folder: Path
) -> None:
    def say(domain: Any, request: str, seconds: int) -> str:
        reply = ask(domain, request, seconds)
        if "guest-file-read" in request:
            other = base64.b64encode(b"y").decode()
            return json.dumps({"return": {"count": 1, "buf-b64": other, "eof": True}})
        return reply

    answer = await copied(guest, file(folder / "it"), say)
    assert answer.outcome == wire.COMMAND_OUTCOME_FAILED
    assert answer.reason == f"{port.DIFFERS}; {port.UNCHANGED}" and is_as_before(folder)


@needs_agent
async def test_an_agent_that_reads_without_end_is_bounded(guest: AgentGuest, folder: Path) -> None:
    def say(domain: Any, request: str, seconds: int) -> str:
        if "guest-file-read" in request:
            endless = base64.b64encode(b"x" * 65536).decode()
            return json.dumps({"return": {"count": 65536, "buf-b64": endless, "eof": False}})
        return ask(domain, request, seconds)

    answer = await copied(guest, file(folder / "it"), say)
    assert answer.reason == f"{port.DIFFERS}; {port.UNCHANGED}" and is_as_before(folder)


async def test_an_agent_that_lies_fails_its_own_guest(tmp_path: Path) -> None:
    lies = '{"return": {"pid": "x"}}'
    answer = await copied(AgentGuest(tmp_path, 0), file(tmp_path / "x"), lambda *_: lies)
    assert answer.outcome == wire.COMMAND_OUTCOME_FAILED
    assert answer.reason.endswith(port.LEFT_OVER)


@pytest.mark.parametrize("told", [None, "7", 1.5, True, {}, 1 << 64])
def test_a_handle_that_is_none_is_a_bad_reply(told: object) -> None:
    with pytest.raises(BadReply):
        handle_of(json.dumps({"return": told}))


@pytest.mark.parametrize("count", [None, 0, -1, 11, "3", True, 1.5])
def test_a_count_that_cannot_be_is_a_bad_reply(count: object) -> None:
    with pytest.raises(BadReply):
        written_of(json.dumps({"return": {"count": count}}), 10)


@pytest.mark.parametrize("data", [None, 7, "%", "", "A" * 28])
def test_what_is_read_and_cannot_be_is_a_bad_reply(data: object) -> None:
    with pytest.raises(BadReply):
        read_of(json.dumps({"return": {"buf-b64": data, "eof": False}}), 10)
