"""Files out of guests by the real qemu-guest-agent: those that change, agents that lie, and whoever
takes them slowly or leaves."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from fleet.guest_commands.answers import Answer
from fleet.ranges import IndexSet
from fleet.v1 import commands_pb2 as commands
from fleet.v1 import copies_pb2 as wire
from fleet_agent.core.guest_commands.agent_messages import BadReply
from fleet_agent.core.guest_commands.file_messages import position_of
from fleet_agent.drivers.libvirt.guests.guest_agents import LibvirtGuestAgents
from fleet_agent.drivers.libvirt.guests.guest_files import LibvirtGuestFiles
from fleet_agent.drivers.ports import guest_files as port
from fleet_agent.drivers.ports.guest_files import Take, WantedFile
from tests.agent.guest_commands.test_guest_files import guest as guest
from tests.contracts.hypervisor.hypervisor_hosts import FLEET
from tests.doubles.agent_guests import PROGRAM, AgentGuest, AgentLink, ask

SECONDS = 20.0
CONTENT = b"x" * 200_000
needs_agent = pytest.mark.skipif(PROGRAM is None, reason="qemu-guest-agent is not installed")
Say = Callable[[Any, str, int], str]


class Parts:
    """All that was taken."""

    def __init__(self) -> None:
        self.taken: list[wire.FilePart] = []

    async def take(self, part: wire.FilePart) -> None:
        self.taken.append(part)

    @property
    def content(self) -> bytes:
        return b"".join(part.data for part in self.taken)

    @property
    def end(self) -> wire.FileEnd:
        return self.taken[-1].end


async def fetched(
    guest: AgentGuest,
    path: Path | str,
    take: Take,
    say: Say = ask,
    seconds: float = SECONDS,
    most: int = 1 << 20,
) -> Answer:
    driver = LibvirtGuestAgents(AgentLink({0: guest}), say)  # type: ignore[arg-type]
    wanted = WantedFile(str(path), most, seconds)
    try:
        files = LibvirtGuestFiles(driver)
        async with aclosing(files.get(FLEET.uid, IndexSet.span(0, 1), wanted, take)) as answers:
            ((_, answer),) = [one async for one in answers]
        return answer
    finally:
        await driver.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "it").write_bytes(CONTENT)
    return tmp_path / "it"


def closes_what_it_opens(guest: AgentGuest) -> bool:
    asked = [one["execute"] for one in guest.asked]
    return asked.count("guest-file-open") == asked.count("guest-file-close") > 0


@needs_agent
async def test_nothing_is_begun_or_written_in_the_guest(guest: AgentGuest, file: Path) -> None:
    parts = Parts()
    assert await fetched(guest, file, parts.take) == port.SENT
    assert parts.content == CONTENT and closes_what_it_opens(guest)
    asked = {one["execute"].removeprefix("guest-file-") for one in guest.asked}
    assert asked == {"open", "seek", "read", "close"}


@needs_agent
async def test_a_file_that_grows_while_it_is_read_is_told_as_that(
    guest: AgentGuest, file: Path
) -> None:
    class Growing(Parts):
        async def take(self, part: wire.FilePart) -> None:
            if not self.taken:
                await asyncio.to_thread(file.write_bytes, CONTENT + b"a line")
            await super().take(part)

    parts = Growing()
    assert await fetched(guest, file, parts.take) == port.SENT
    assert parts.content == CONTENT + b"a line"
    assert parts.end.changed and parts.end.size == len(parts.content)


@needs_agent
async def test_a_file_that_has_no_size_is_read_to_its_end(guest: AgentGuest) -> None:
    parts = Parts()
    assert await fetched(guest, "/proc/version", parts.take) == port.SENT
    assert parts.content == await asyncio.to_thread(Path("/proc/version").read_bytes)


@needs_agent
async def test_a_file_without_an_end_is_bounded(guest: AgentGuest) -> None:
    parts = Parts()
    assert await fetched(guest, "/dev/zero", parts.take, most=100_000) == port.too_large(100_000)
    assert len(parts.content) <= 100_000 and closes_what_it_opens(guest)
    assert not any(part.HasField("end") for part in parts.taken)


@needs_agent
async def test_who_takes_slowly_costs_the_guest_no_time(guest: AgentGuest, file: Path) -> None:
    class Slow(Parts):
        async def take(self, part: wire.FilePart) -> None:
            if not self.taken:
                await asyncio.sleep(1.5)  # longer than the guest has
            await super().take(part)

    parts = Slow()
    assert await fetched(guest, file, parts.take, seconds=1.0) == port.SENT
    assert parts.content == CONTENT


@needs_agent
async def test_a_guest_that_is_too_slow_is_told_and_its_file_closed(
    guest: AgentGuest, file: Path
) -> None:
    def say(domain: Any, request: str, seconds: int) -> str:
        if "guest-file-read" in request:
            time.sleep(1.0)  # longer than the guest has
        return ask(domain, request, seconds)

    answer = await fetched(guest, file, Parts().take, say, seconds=0.5)
    assert answer == port.unanswered("") and closes_what_it_opens(guest)


@needs_agent
async def test_whoever_leaves_has_the_guests_file_closed(guest: AgentGuest, file: Path) -> None:
    taking = asyncio.Event()

    async def take(_: wire.FilePart) -> None:
        taking.set()
        await asyncio.Event().wait()

    fetching = asyncio.create_task(fetched(guest, file, take))
    async with asyncio.timeout(SECONDS):
        await taking.wait()
        fetching.cancel()
        await asyncio.wait([fetching])
    assert fetching.cancelled() and closes_what_it_opens(guest)


@needs_agent
async def test_an_agent_that_reads_more_than_it_says_is_bounded(
    guest: AgentGuest, file: Path
) -> None:
    def say(domain: Any, request: str, seconds: int) -> str:
        if "guest-file-read" in request:
            endless = base64.b64encode(b"x" * 65536).decode()
            return json.dumps({"return": {"count": 65536, "buf-b64": endless, "eof": False}})
        return ask(domain, request, seconds)

    assert await fetched(guest, file, Parts().take, say) == port.too_large(1 << 20)


async def test_an_agent_that_lies_fails_its_own_guest(tmp_path: Path) -> None:
    parts = Parts()
    for lies in ('{"return": {"pid": "x"}}', '{"return": 7}', "no JSON"):
        answer = await fetched(
            AgentGuest(tmp_path, 0), "/x", parts.take, lambda *_, lies=lies: lies
        )
        assert answer.outcome == commands.COMMAND_OUTCOME_FAILED
    assert not parts.taken


@pytest.mark.parametrize("told", [None, -1, "7", 1.5, True, 1 << 64])
def test_a_position_that_is_none_is_a_bad_reply(told: object) -> None:
    with pytest.raises(BadReply):
        position_of(json.dumps({"return": {"position": told, "eof": False}}))
