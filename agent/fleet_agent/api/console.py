"""The RPC Console: one stream of what is typed, one of what is printed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fleet.service import Context
from fleet.v1 import agent_pb2 as wire
from fleet_agent.api.console_sessions import ConsoleRequest, ConsoleSession, Desk

# Bytes: of one message of output, and the most that one message of input may have.
OUTPUT_BYTES = 64 * 1024
INPUT_BYTES = 64 * 1024
LONGEST_ACTOR = 200
# A window has no more: struct winsize holds 16 bits.
MAX_WINDOW = 65535


class BadConsoleInput(Exception):
    """What a caller sent to a console makes no sense; one sentence."""


def means_to_type(first: wire.ConsoleInput) -> bool:
    return first.HasField("vm") and not (first.read_only or first.log_only)


async def serve(
    desk: Desk, first: wire.ConsoleInput, rest: AsyncIterator[wire.ConsoleInput], context: Context
) -> None:
    """Until the caller closes its side. Raises NoSuchVm, TooManyReaders, DriverError,
    BadConsoleInput."""
    if not first.HasField("vm"):
        raise BadConsoleInput("the first message of a console names no VM")
    vm = first.vm
    if first.log_only:
        data = await desk.last(vm.fleet_uid, vm.index, first.log_bytes)
        for start in range(0, len(data), OUTPUT_BYTES):
            await context.write(wire.ConsoleOutput(data=data[start : start + OUTPUT_BYTES]))
        return
    request = ConsoleRequest(
        first.read_only, first.take_over, first.log_bytes, first.actor[:LONGEST_ACTOR]
    )
    session = await desk.open_session(vm.fleet_uid, vm.index, request)
    try:
        await _converse(session, first, rest, context)
    finally:
        session.close()


async def _converse(
    session: ConsoleSession,
    first: wire.ConsoleInput,
    inputs: AsyncIterator[wire.ConsoleInput],
    context: Context,
) -> None:
    """Printing and typing side by side: a guest that does not read still prints."""
    # At once, so that the caller knows that the console is open.
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


async def _print(session: ConsoleSession, context: Context) -> None:
    while (piece := await session.next()) is not None:
        await context.write(
            wire.ConsoleOutput(data=piece.data, notice=piece.notice, writing=session.writing)
        )


async def _type(
    session: ConsoleSession, first: wire.ConsoleInput, inputs: AsyncIterator[wire.ConsoleInput]
) -> None:
    await _obey(session, first)
    async for one in inputs:
        await _obey(session, one)


async def _obey(session: ConsoleSession, one: wire.ConsoleInput) -> None:
    if len(one.data) > INPUT_BYTES:
        raise BadConsoleInput(f"{len(one.data):,} bytes typed at once; {INPUT_BYTES:,} may be")
    if one.rows and one.columns:
        await session.resize(min(one.rows, MAX_WINDOW), min(one.columns, MAX_WINDOW))
    if one.data:
        await session.type(one.data)
