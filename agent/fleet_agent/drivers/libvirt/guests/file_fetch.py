"""One guest's file, read by its qemu-guest-agent and given on part by part."""

from __future__ import annotations

import asyncio

from fleet.guest_commands.answers import Answer
from fleet.guest_commands.copies import PART_BYTES
from fleet.guest_commands.files_out import Leaving
from fleet.v1 import copies_pb2 as copies
from fleet_agent.core.guest_commands import file_messages as messages
from fleet_agent.core.guest_commands.agent_messages import BadReply
from fleet_agent.drivers.libvirt.binding import Domain
from fleet_agent.drivers.libvirt.guests.file_talk import AgentGone, FileTalk
from fleet_agent.drivers.libvirt.guests.guest_agents import LibvirtGuestAgents
from fleet_agent.drivers.ports import guest_files as port
from fleet_agent.drivers.ports.errors import DriverError, as_driver_errors
from fleet_agent.drivers.ports.guest_files import NotTaken, Take, WantedFile

# Seconds for the file to be closed in the guest.
_CLOSE_SECONDS = 10.0
_REASON = 160
# Words of an agent, as the guest's C library has them.
_WHY = (
    ("No such file or directory", port.NO_FILE),
    ("Not a directory", port.NO_FILE),
    ("Is a directory", port.IS_FOLDER),
    ("Permission denied", port.UNREADABLE),
)


class TooLarge(Exception):
    """More than was asked for."""


class OneFetch:
    """Of one file, out of one guest."""

    def __init__(
        self, agents: LibvirtGuestAgents, domain: Domain, index: int, file: WantedFile, take: Take
    ) -> None:
        self._talk = FileTalk(agents, domain)
        self._file = file
        self._take = take
        self._leaving = Leaving(index)
        self._opened = False

    async def run(self) -> Answer:
        try:
            return await self._in_time()
        finally:
            # Whoever has left waits for no answer, and the guest's file is closed all the same.
            await asyncio.shield(asyncio.ensure_future(self._tidy()))

    async def _in_time(self) -> Answer:
        try:
            async with asyncio.timeout(self._file.seconds) as limit:
                with as_driver_errors("copy", AgentGone, BadReply, TooLarge, NotTaken):
                    await self._read(limit)
        except TimeoutError:
            return port.unanswered("")
        except AgentGone:
            return Answer.failed("its guest agent has gone") if self._opened else port.NO_AGENT
        except TooLarge:
            return port.too_large(self._file.most_bytes)
        except (BadReply, DriverError) as error:
            said = str(error)
            why = next((why for words, why in _WHY if words in said), said)
            return Answer.failed(why[:_REASON])
        return port.SENT

    async def _read(self, limit: asyncio.Timeout) -> None:
        handle = await self._talk.open(self._file.path)
        self._opened = True
        before = await self._size(handle)
        if before is not None:
            await self._talk.say(messages.rewind_request(handle))
        ended = False
        while not ended:
            reply = await self._talk.say(messages.read_request(handle, PART_BYTES))
            data, ended = messages.read_of(reply, PART_BYTES)
            # Not before something was read: of a folder the size is nonsense, and reading it fails.
            if max(before or 0, self._leaving.size + len(data)) > self._file.most_bytes:
                raise TooLarge
            for part in self._leaving.add(data):
                await self._give(part, limit)
        changed = before is not None and await self._size(handle) != before
        await self._give(self._leaving.last(changed=changed), limit)

    async def _size(self, handle: int) -> int | None:
        """None: the guest cannot tell, as of what has no end to go to."""
        try:
            return messages.position_of(await self._talk.say(messages.size_request(handle)))
        except DriverError:
            return None

    async def _give(self, part: copies.FilePart, limit: asyncio.Timeout) -> None:
        """The guest's time stands still meanwhile."""
        loop, until = asyncio.get_running_loop(), limit.when()
        began = loop.time()
        limit.reschedule(None)
        await self._take(part)
        limit.reschedule(until + loop.time() - began if until is not None else None)

    async def _tidy(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                with as_driver_errors("copy", AgentGone, BadReply):
                    await self._talk.settled()
                    await self._talk.close()
        except (TimeoutError, AgentGone, BadReply, DriverError):
            return
