"""What is said to one guest's agent about one file at a time, which is closed whatever happens."""

from __future__ import annotations

import asyncio

from fleet_agent.core.guest_commands import file_messages as messages
from fleet_agent.core.guest_commands.agent_messages import BadReply
from fleet_agent.drivers.libvirt.binding import Domain
from fleet_agent.drivers.libvirt.guests.guest_agents import LibvirtGuestAgents
from fleet_agent.drivers.ports.errors import DriverError


class AgentGone(Exception):
    """It does not answer any more, or never did."""


class FileTalk:
    def __init__(self, agents: LibvirtGuestAgents, domain: Domain) -> None:
        self._agents = agents
        self._domain = domain
        self._asked: asyncio.Future[str | None] | None = None
        self._opening = False
        self._handle: int | None = None

    async def open(self, path: str, *, writing: bool = False) -> int:
        self._opening = True
        reply = await self.say(messages.open_request(path, writing=writing))
        self._handle, self._opening = messages.handle_of(reply), False
        return self._handle

    async def close(self) -> None:
        if self._handle is not None:
            handle, self._handle = self._handle, None
            await self.say(messages.close_request(handle))

    async def say(self, request: str) -> str:
        """What is asked is asked: who leaves meanwhile has to settle it. Raises AgentGone,
        DriverError."""
        self._asked = asyncio.ensure_future(self._agents.say(self._domain, request))
        if (reply := await asyncio.shield(self._asked)) is None:
            raise AgentGone
        return reply

    async def settled(self) -> None:
        """What was asked last has been answered; a file that it has opened is known."""
        if self._asked is None:
            return
        try:
            reply = await self._asked
            if self._opening and reply is not None:
                self._handle = messages.handle_of(reply)
        except (BadReply, DriverError):
            return
