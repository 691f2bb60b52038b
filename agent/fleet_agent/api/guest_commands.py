"""The RPC RunInVms: one command in many VMs, answered as answers come, equal ones together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any, Protocol

from fleet.guest_commands.answers import BadCommand, check_command
from fleet.guest_commands.groups import MOST_BYTES_ON_HOST, MOST_ON_HOST, OutcomeGroups
from fleet.ranges import IndexSet
from fleet.service import Context
from fleet.v1 import commands_pb2 as wire
from fleet.wire_ranges import from_wire
from fleet_agent.api.console import LONGEST_ACTOR
from fleet_agent.drivers.ports.guest_commands import GuestCommand, GuestCommands

# Seconds between two words: what was answered meanwhile, and that it goes on.
TELL_SECONDS = 0.5


async def run(commands: GuestCommands, request: wire.RunInVmsRequest, context: Context) -> None:
    """Until all have answered, or the caller has gone. Raises BadCommand."""
    check_command(request.command)
    try:
        indices = from_wire(request.indices)
    except ValueError as error:
        raise BadCommand(str(error)) from error
    most = min(request.most_answers or MOST_ON_HOST, MOST_ON_HOST)
    groups = OutcomeGroups(most, MOST_BYTES_ON_HOST)
    asked = GuestCommand(
        request.command.line,
        request.command.user,
        request.command.timeout_ms / 1000,
        request.command.output_bytes,
        request.actor[:LONGEST_ACTOR],
    )
    await tell(_gather(commands, request.fleet_uid, indices, asked, groups), groups, context)


class Outlet(Protocol):
    """Whoever is told: a call's context, or what stands before it."""

    async def write(self, answer: wire.RunInVmsAnswer, /) -> None: ...


async def tell(work: Coroutine[Any, Any, None], groups: OutcomeGroups, context: Outlet) -> None:
    """What the work adds to the groups, until it has ended; it ends with the caller."""
    gathering = asyncio.create_task(work)
    try:
        while True:
            await asyncio.wait((gathering,), timeout=TELL_SECONDS)
            over, told = gathering.done(), False
            for part in groups.take():
                await context.write(wire.RunInVmsAnswer(groups=part))
                told = True
            if over:
                gathering.result()
                return
            if not told:
                await context.write(wire.RunInVmsAnswer())
    finally:
        gathering.cancel()
        await asyncio.wait((gathering,))


async def _gather(
    commands: GuestCommands,
    fleet_uid: str,
    indices: IndexSet,
    asked: GuestCommand,
    groups: OutcomeGroups,
) -> None:
    async with aclosing(commands.run(fleet_uid, indices, asked)) as answers:
        async for answered, answer in answers:
            groups.add(answered, answer)
