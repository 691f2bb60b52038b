"""Files written into guests of QEMU by their qemu-guest-agent, and read out of them."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from fleet.guest_commands.answers import Answer
from fleet.guest_commands.copies import PART_BYTES, parts_of
from fleet.guest_commands.files_out import MOST_OPEN
from fleet.ranges import IndexSet
from fleet_agent.core.guest_commands import file_messages as messages
from fleet_agent.core.guest_commands.agent_messages import (
    BadReply,
    answer_of_status,
    pid_of,
    status_request,
)
from fleet_agent.drivers.libvirt.binding import Domain
from fleet_agent.drivers.libvirt.guests.file_fetch import OneFetch
from fleet_agent.drivers.libvirt.guests.file_talk import AgentGone, FileTalk
from fleet_agent.drivers.libvirt.guests.guest_agents import THREADS, LibvirtGuestAgents
from fleet_agent.drivers.ports import guest_files as port
from fleet_agent.drivers.ports.errors import DriverError, as_driver_errors
from fleet_agent.drivers.ports.guest_files import GuestFile, Take, WantedFile
from fleet_agent.drivers.ports.side_by_side import side_by_side

_PAUSE_SECONDS = 0.02
# Seconds for an incomplete file to be taken away.
_TIDY_SECONDS = 10.0
# Of why it failed, with room for what became of it.
_REASON = 120
_WHY = {
    messages.IS_FOLDER_CODE: port.IS_FOLDER,
    messages.NO_FOLDER_CODE: port.NO_FOLDER,
    messages.READ_ONLY_CODE: port.READ_ONLY,
}


class NotCopied(Exception):
    """One sentence."""


_OWN = (NotCopied, AgentGone, BadReply)


class LibvirtGuestFiles:
    """The GuestFiles port over guests' agents."""

    def __init__(
        self,
        agents: LibvirtGuestAgents,
        nonce: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._agents = agents
        self._nonce = nonce

    async def put(
        self, fleet_uid: str, indices: IndexSet, file: GuestFile
    ) -> AsyncGenerator[tuple[IndexSet, Answer], None]:
        def one(index: int) -> Coroutine[Any, Any, Answer]:
            return self._one(fleet_uid, index, file)

        async with aclosing(side_by_side(THREADS, indices, one)) as answers:
            async for answer in answers:
                yield answer

    async def get(
        self, fleet_uid: str, indices: IndexSet, wanted: WantedFile, take: Take
    ) -> AsyncGenerator[tuple[IndexSet, Answer], None]:
        async def one(index: int) -> Answer:
            found = await self._domain(fleet_uid, index)
            if isinstance(found, Answer):
                return found
            return await OneFetch(self._agents, found, index, wanted, take).run()

        async with aclosing(side_by_side(min(THREADS, MOST_OPEN), indices, one)) as answers:
            async for answer in answers:
                yield answer

    async def _one(self, fleet_uid: str, index: int, file: GuestFile) -> Answer:
        found = await self._domain(fleet_uid, index)
        if isinstance(found, Answer):
            return found
        return await OneCopy(self._agents, found, file, self._nonce()).run()

    async def _domain(self, fleet_uid: str, index: int) -> Domain | Answer:
        """Or why it has none that can be asked."""
        try:
            with as_driver_errors("copy"):
                domain = await self._agents.with_agent(fleet_uid, index)
        except DriverError as error:
            return Answer.failed(str(error))
        return port.NO_AGENT if domain is None else domain


class OneCopy:
    """Of one file, in one guest."""

    def __init__(
        self, agents: LibvirtGuestAgents, domain: Domain, file: GuestFile, nonce: str
    ) -> None:
        self._talk = FileTalk(agents, domain)
        self._file = file
        self._part = messages.beside(file.path, nonce)
        self._began = False  # something may have been made in the guest
        self._answered = False  # it has begun what was asked
        self._placing = False

    async def run(self) -> Answer:
        try:
            failed = await self._in_time()
        except asyncio.CancelledError:
            # Whoever has left waits for no answer, and what is incomplete goes all the same.
            await asyncio.shield(asyncio.ensure_future(self._tidy()))
            raise
        if failed is None:
            return self._file.copied
        if not self._began:
            return failed
        tidy = await self._tidy()
        after = port.UNCHANGED if tidy else port.LEFT_OVER
        if self._placing:
            after = port.PERHAPS_PLACED
        return replace(failed, reason="; ".join(one for one in (failed.reason, after) if one))

    async def _in_time(self) -> Answer | None:
        """Why it is not in its place; None: it is."""
        try:
            async with asyncio.timeout(self._file.seconds):
                with as_driver_errors("copy", *_OWN):
                    await self._prepare()
                    await self._write()
                    await self._read_back()
                    await self._place()
        except TimeoutError:
            return port.unanswered("")
        except AgentGone:
            if self._answered:
                return Answer.failed("its guest agent has gone")
            self._began = False
            return port.NO_AGENT
        except (NotCopied, BadReply, DriverError) as error:
            # Without the other name, so that many of them are one answer.
            return Answer.failed(str(error).replace(self._part, self._file.path)[:_REASON])
        return None

    async def _prepare(self) -> None:
        code = await self._script(messages.prepare_request(self._file.path, self._part))
        if code:
            self._began = False
            raise NotCopied(_WHY.get(code, f"its shell ended with {code}"))

    async def _write(self) -> None:
        handle = await self._talk.open(self._part, writing=True)
        for part in parts_of(self._file.content):
            done = 0
            while done < len(part):
                reply = await self._talk.say(messages.write_request(handle, part[done:]))
                done += messages.written_of(reply, len(part) - done)
        await self._talk.say(messages.flush_request(handle))
        await self._talk.close()

    async def _read_back(self) -> None:
        handle, size, digest = await self._talk.open(self._part), 0, hashlib.sha256()
        while size <= len(self._file.content):
            reply = await self._talk.say(messages.read_request(handle, PART_BYTES))
            data, ended = messages.read_of(reply, PART_BYTES)
            size += len(data)
            digest.update(data)
            if ended:
                break
        await self._talk.close()
        if digest.digest() != self._file.digest:
            raise NotCopied(port.DIFFERS)

    async def _place(self) -> None:
        request = messages.place_request(self._file.path, self._part, self._file.mode)
        self._placing = True
        code = await self._script(request)
        self._placing = False
        if code:
            raise NotCopied("it was not put in its place")

    async def _script(self, request: str) -> int:
        """Its exit code."""
        self._began = True
        pid = pid_of(await self._talk.say(request))
        self._answered = True
        while True:
            answer = answer_of_status(await self._talk.say(status_request(pid)), 0)
            if answer is not None:
                return answer.exit_code
            await asyncio.sleep(_PAUSE_SECONDS)  # an agent announces nothing

    async def _tidy(self) -> bool:
        """Whether nothing is left of what was begun."""
        try:
            async with asyncio.timeout(_TIDY_SECONDS):
                with as_driver_errors("copy", *_OWN):
                    await self._talk.settled()
                    await self._talk.close()
                    away = messages.take_away_request(self._file.path, self._part)
                    return await self._script(away) == 0
        except (TimeoutError, AgentGone, BadReply, DriverError):
            return False
