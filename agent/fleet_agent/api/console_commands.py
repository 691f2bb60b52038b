"""Commands in guests by their agents, else through their consoles: typed there, and read there
between marks.

For as long as its command runs, a guest's console is held as by somebody who types: another one
who types is not disturbed, and whoever takes over ends the command's turn.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any

from fleet.guest_commands.answers import Answer
from fleet.ranges import IndexSet
from fleet.v1 import commands_pb2 as wire
from fleet_agent.api.console_sessions import (
    ConsoleRequest,
    ConsoleSession,
    Desk,
    TooManyReaders,
)
from fleet_agent.core.guest_commands.transcript import Transcript, asks_who
from fleet_agent.core.guest_commands.typed_line import INTERRUPT, CannotBeTyped, Marks
from fleet_agent.drivers.ports.consoles import CannotType, NoSuchVm
from fleet_agent.drivers.ports.errors import DriverError, as_driver_errors
from fleet_agent.drivers.ports.guest_commands import NO_SUCH_GUEST, GuestAgents, GuestCommand
from fleet_agent.drivers.ports.side_by_side import side_by_side

# Guests at once: each costs a look at its log every 20 ms, and what its command does.
WIDTH = 64
# Of what was printed before, where a login prompt is looked for.
_LAST_BYTES = 512
# So often an interrupt is typed, in so many seconds altogether; the echo of one is over after so
# many of silence.
_INTERRUPTS, _INTERRUPT_SECONDS, _QUIET_SECONDS = 2, 1.5, 0.1
_LOGIN = "a login prompt is on its console"


class ConsoleCommands:
    """The GuestCommands port over the consoles of a host."""

    def __init__(
        self,
        desk: Desk,
        agents: GuestAgents | None = None,
        nonce: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """`agents`: are asked first."""
        self._desk = desk
        self._agents = agents
        self._nonce = nonce

    async def run(
        self, fleet_uid: str, indices: IndexSet, command: GuestCommand
    ) -> AsyncGenerator[tuple[IndexSet, Answer], None]:
        def one(index: int) -> Coroutine[Any, Any, Answer]:
            return self._one(fleet_uid, index, command)

        async with aclosing(side_by_side(WIDTH, indices, one)) as answers:
            async for answer in answers:
                yield answer

    async def _one(self, fleet_uid: str, index: int, command: GuestCommand) -> Answer:
        if self._agents is not None:
            try:
                with as_driver_errors("run"):
                    answer = await self._agents.run(fleet_uid, index, command)
            except DriverError as error:
                return Answer.failed(str(error))
            if answer is not None:
                return answer
        return await self._on_console(fleet_uid, index, command)

    async def _on_console(self, fleet_uid: str, index: int, command: GuestCommand) -> Answer:
        marks = Marks(self._nonce())
        try:
            line = marks.line(command.line, command.user)
            before = await self._desk.last(fleet_uid, index, _LAST_BYTES)
            if before and asks_who(before):
                return Answer(wire.COMMAND_OUTCOME_NO_SHELL, reason=_LOGIN)
            request = ConsoleRequest(actor=command.actor)
            session = await self._desk.open_session(fleet_uid, index, request)
        except NoSuchVm:
            return Answer.failed(NO_SUCH_GUEST)
        except (CannotBeTyped, TooManyReaders, DriverError) as error:
            return Answer.failed(str(error))
        try:
            if not session.writing:
                return _taken(self._desk.writer((fleet_uid, index)))
            return await _talk(session, line, Transcript(marks, command.output_bytes), command)
        finally:
            session.close()


async def _talk(
    session: ConsoleSession, line: bytes, transcript: Transcript, command: GuestCommand
) -> Answer:
    typed = False
    try:
        async with asyncio.timeout(command.seconds):
            typed = True
            await session.hand(line)
            while transcript.exit_code is None and not transcript.stuck:
                if (piece := await session.next()) is None:
                    return Answer.failed("its console was closed")
                transcript.add(piece.data)
                if not session.writing:
                    typed = False
                    return Answer(
                        wire.COMMAND_OUTCOME_CONSOLE_TAKEN,
                        reason="somebody took over its console meanwhile",
                    )
    except TimeoutError:
        if not transcript.begun:
            return Answer(wire.COMMAND_OUTCOME_NO_SHELL)
        return transcript.answer()
    except (CannotType, DriverError) as error:
        typed = False
        # Without its name, so that many of them are one answer.
        return Answer.failed(str(error).replace(session.name, "the VM"))
    finally:
        if typed and transcript.exit_code is None:
            await _interrupt(session)
    if transcript.exit_code is None:
        return Answer(wire.COMMAND_OUTCOME_NO_SHELL, reason=_LOGIN)
    return transcript.answer()


async def _interrupt(session: ConsoleSession) -> None:
    """What still runs there is not left behind. One that comes while the shell is about to begin
    the command reaches neither; the next one does, and at a prompt it does nothing."""
    with suppress(CannotType, DriverError, TimeoutError):
        async with asyncio.timeout(_INTERRUPT_SECONDS):
            for _ in range(_INTERRUPTS):
                await session.hand(INTERRUPT)
                # Until its shell is back, whose echo may take a while on a busy host: what is
                # typed before would be hit by the interrupt as well.
                if await session.next() is None:
                    return
                await _quiet(session)


async def _quiet(session: ConsoleSession) -> None:
    """Until nothing is printed for a moment."""
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(_QUIET_SECONDS):
                if await session.next() is None:
                    return


def _taken(by: ConsoleSession | None) -> Answer:
    who = (by.actor if by is not None else "") or "another session"
    return Answer(
        wire.COMMAND_OUTCOME_CONSOLE_TAKEN,
        reason=f"{who} types at its console",
    )
