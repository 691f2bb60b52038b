"""The RPC Console: one stream of what is typed, one of what is printed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from fleet.service import Context
from fleet.v1 import agent_pb2 as wire
from fleet_agent.api.console_sessions import Desk, Session, Wish
from fleet_agent.core.assignment import Order, order_of

# A message of what is printed, and the most that one message may type.
OUTPUT_BYTES = 64 * 1024
INPUT_BYTES = 64 * 1024
# A window has no more: struct winsize holds 16 bits.
MAX_WINDOW = 65535


class BadConsoleInput(Exception):
    """What a caller sent makes no sense; one sentence."""


class ConsoleRpc:
    """`heard` is told the term of whoever means to type; it raises StaleTerm, LedgerError."""

    def __init__(self, desk: Desk, heard: Callable[[Order], Awaitable[None]]) -> None:
        self._desk = desk
        self._heard = heard

    async def serve(self, inputs: AsyncIterator[wire.ConsoleInput], context: Context) -> None:
        """Until the caller closes its side. Raises NoSuchVm, TooManyReaders, DriverError,
        BadConsoleInput, and what `heard` does."""
        inputs = aiter(inputs)
        first = await anext(inputs, None)
        if first is None:
            return
        if not first.HasField("vm"):
            raise BadConsoleInput("the first message of a console names no VM")
        vm = first.vm
        if first.log_only:
            data = await self._desk.last(vm.fleet_uid, vm.index, first.log_bytes)
            for start in range(0, len(data), OUTPUT_BYTES):
                await context.write(wire.ConsoleOutput(data=data[start : start + OUTPUT_BYTES]))
            return
        if not first.read_only:
            await self._heard(order_of(first.term))
        wish = Wish(first.read_only, first.take_over, first.log_bytes)
        session = await self._desk.open_session(vm.fleet_uid, vm.index, wish)
        try:
            await self._converse(session, first, inputs, context)
        finally:
            session.close()

    async def _converse(
        self,
        session: Session,
        first: wire.ConsoleInput,
        inputs: AsyncIterator[wire.ConsoleInput],
        context: Context,
    ) -> None:
        """Printing and typing side by side: a guest that does not read still prints."""
        # At once, for the caller to know that it is through.
        await context.write(wire.ConsoleOutput(writing=session.writing))
        printing = asyncio.create_task(_print(session, context))
        typing = asyncio.create_task(_type(session, first, inputs))
        try:
            done, _ = await asyncio.wait((printing, typing), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (printing, typing):
                task.cancel()
            await asyncio.gather(printing, typing, return_exceptions=True)


async def _print(session: Session, context: Context) -> None:
    while (piece := await session.next()) is not None:
        await context.write(
            wire.ConsoleOutput(data=piece.data, notice=piece.notice, writing=session.writing)
        )


async def _type(
    session: Session, first: wire.ConsoleInput, inputs: AsyncIterator[wire.ConsoleInput]
) -> None:
    await _obey(session, first)
    async for one in inputs:
        await _obey(session, one)


async def _obey(session: Session, one: wire.ConsoleInput) -> None:
    if len(one.data) > INPUT_BYTES:
        raise BadConsoleInput(f"{len(one.data):,} bytes typed at once; {INPUT_BYTES:,} may be")
    if one.rows and one.columns:
        await session.resize(min(one.rows, MAX_WINDOW), min(one.columns, MAX_WINDOW))
    if one.data:
        await session.type(one.data)
