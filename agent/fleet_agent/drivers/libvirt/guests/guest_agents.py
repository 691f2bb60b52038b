"""Commands in guests of QEMU that run qemu-guest-agent, spoken to through libvirt.

A domain has a channel for it where its template says so. Whatever has none, or an agent that does
not answer, is told as that: it has a console still. An agent is asked whether it answers before it
is asked to begin anything: one that falls silent then may have begun it, and libvirt says the same
of it as of one that was never there.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from fleet.guest_commands.answers import Answer
from fleet.identity import Fleet
from fleet.v1 import commands_pb2 as wire
from fleet_agent.core.domain.domain_mark import parse_mark, parsed
from fleet_agent.core.domain.domain_xml import AGENT_CHANNEL
from fleet_agent.core.guest_commands.agent_messages import (
    BadReply,
    answer_of_status,
    end_request,
    pid_of,
    ping_request,
    run_request,
    status_request,
)
from fleet_agent.drivers.libvirt.binding import Domain, code_of, message_of
from fleet_agent.drivers.libvirt.connection import LibvirtConnection
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.ports.guest_commands import GuestCommand

# Guests spoken to at once. One call takes milliseconds; an agent that hangs takes its deadline.
THREADS = 16
# Seconds within which an agent answers one call.
ANSWER_SECONDS = 5
# Seconds between two looks whether a command has ended: at first, and at most.
_FIRST_LOOK, _LATER_LOOK = 0.02, 0.5
# libvirt's VIR_ERR_: the domain has no agent that answers. ARGUMENT_UNSUPPORTED,
# AGENT_UNRESPONSIVE, and AGENT_COMMAND_TIMEOUT, which newer ones say where they have reached it.
_WITHOUT_AGENT = frozenset({74, 86, 112})
NOT_BEGUN = "its guest agent was slow, and the command was not begun"
MAY_HAVE_BEGUN = (
    "its guest agent was told to begin the command and did not answer: it may have begun, and was "
    "not interrupted"
)

T = TypeVar("T")
# Has an agent answer: domain, request, seconds. Raises libvirt's errors.
Ask = Callable[[Domain, str, int], str]


def ask_through_libvirt(domain: Domain, request: str, seconds: int) -> str:
    """Blocking. Raises ImportError where libvirt's binding for QEMU is not installed."""
    binding = importlib.import_module("libvirt_qemu")
    return str(binding.qemuAgentCommand(domain, request, seconds, 0))


class LibvirtGuestAgents:
    """The GuestAgents port over the connection of a driver."""

    def __init__(self, link: LibvirtConnection, ask: Ask = ask_through_libvirt) -> None:
        self._link = link
        self._ask = ask
        self._calls = ThreadPoolExecutor(THREADS, "guest-agent")

    async def run(self, fleet_uid: str, index: int, command: GuestCommand) -> Answer | None:
        domain = await self.with_agent(fleet_uid, index)
        if domain is None:
            return None
        beginning: asyncio.Future[str | None] | None = None
        try:
            async with asyncio.timeout(command.seconds):
                if await self.say(domain, ping_request()) is None:
                    return None
                begin = run_request(command.line, command.user)
                beginning = asyncio.ensure_future(self.say(domain, begin))
                # Begun is begun: who leaves meanwhile has it ended all the same.
                if (reply := await asyncio.shield(beginning)) is None:
                    return _no_answer(MAY_HAVE_BEGUN)
                answer = await self._ended(domain, reply, command.output_bytes)
                beginning = None
                return answer
        except TimeoutError:
            if beginning is None:
                return _no_answer(NOT_BEGUN)
            late, beginning = beginning, None
            interrupted = await asyncio.shield(asyncio.ensure_future(self._end(domain, late)))
            return _no_answer("" if interrupted else MAY_HAVE_BEGUN)
        except BadReply as error:
            return Answer.failed(str(error))
        finally:
            if beginning is not None:
                await asyncio.shield(asyncio.ensure_future(self._end(domain, beginning)))

    async def with_agent(self, fleet_uid: str, index: int) -> Domain | None:
        """The domain, if it runs and has a channel. Raises DriverError."""
        return await self._call(partial(self._with_agent, fleet_uid, index))

    async def close(self) -> None:
        self._calls.shutdown(wait=False)

    async def _ended(self, domain: Domain, begun: str, most: int) -> Answer:
        """Raises BadReply, DriverError."""
        pid, pause = pid_of(begun), _FIRST_LOOK
        while True:
            reply = await self.say(domain, status_request(pid))
            if reply is None:
                raise BadReply("its guest agent has gone")
            if (answer := answer_of_status(reply, most)) is not None:
                return answer
            await asyncio.sleep(pause)  # an agent announces nothing
            pause = min(pause * 2, _LATER_LOOK)

    async def _end(self, domain: Domain, beginning: asyncio.Future[str | None]) -> bool:
        """Whether the agent has ended it, as far as that says."""
        with suppress(BadReply, DriverError):
            if (begun := await beginning) is not None:
                return await self.say(domain, end_request(pid_of(begun))) is not None
        return False

    async def say(self, domain: Domain, request: str) -> str | None:
        """None: no agent answers. Raises DriverError."""
        return await self._call(partial(self._said, domain, request))

    async def _call(self, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._calls, act)

    def _said(self, domain: Domain, request: str) -> str | None:
        """Blocking."""
        try:
            with self._link.talk():
                return self._ask(domain, request, ANSWER_SECONDS)
        except ImportError:
            return None
        except self._link.binding.libvirtError as error:
            if code_of(error) in _WITHOUT_AGENT:
                return None
            raise DriverError(f"its guest agent does not answer: {message_of(error)}") from error

    def _with_agent(self, fleet_uid: str, index: int) -> Domain | None:
        """Blocking."""
        try:
            uuid = str(Fleet(fleet_uid, "", 0).domain_uuid(index))
        except ValueError:
            return None
        binding = self._link.binding
        try:
            with self._link.talk() as connection:
                domain = connection.lookupByUUIDString(uuid)
                xml = parsed(domain.XMLDesc())
                marked, running = parse_mark(xml), domain.isActive()
        except binding.libvirtError as error:
            if code_of(error) == binding.VIR_ERR_NO_DOMAIN:
                return None
            raise DriverError(f"cannot look up {uuid} in libvirt: {message_of(error)}") from error
        ours = marked is not None and (marked.kin.fleet_uid, marked.index) == (fleet_uid, index)
        channels = xml.iterfind("devices/channel/target")
        has_channel = any(one.get("name") == AGENT_CHANNEL for one in channels)
        return domain if ours and running and has_channel else None


def _no_answer(reason: str) -> Answer:
    return Answer(wire.COMMAND_OUTCOME_NO_ANSWER, reason=reason)
