"""The RPC CopyIntoVms: one file, handed in once, and written into many VMs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager

from fleet.guest_commands.answers import BadCommand
from fleet.guest_commands.copies import Arriving, check_file
from fleet.guest_commands.groups import MOST_BYTES_ON_HOST, MOST_ON_HOST, OutcomeGroups
from fleet.ranges import IndexSet
from fleet.service import Context
from fleet.v1 import commands_pb2 as commands
from fleet.v1 import copies_pb2 as wire
from fleet.wire_ranges import from_wire
from fleet_agent.api.guest_commands import tell
from fleet_agent.drivers.ports.guest_files import GuestFile, GuestFiles

# Each holds its file in memory.
MOST_AT_ONCE = 2
# Seconds without a part of the file.
SILENCE_SECONDS = 60.0


class TooManyCopies(Exception):
    """One sentence."""


class Copies:
    """What is being copied on this host."""

    def __init__(self, files: GuestFiles) -> None:
        self._files = files
        self._under_way = 0

    async def serve(
        self,
        first: wire.CopyIntoVmsRequest,
        rest: AsyncIterator[wire.CopyIntoVmsRequest],
        context: Context,
    ) -> None:
        """Until it is in all of them, or the caller has gone. Raises BadCommand, TooManyCopies."""
        check_file(first.file)
        try:
            indices = from_wire(first.indices)
        except ValueError as error:
            raise BadCommand(str(error)) from error
        groups = OutcomeGroups(
            min(first.most_answers or MOST_ON_HOST, MOST_ON_HOST), MOST_BYTES_ON_HOST
        )
        with self._place():
            await context.write(commands.RunInVmsAnswer())  # the content is sent from here on
            await tell(self._copied(first, rest, indices, groups), groups, context)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._under_way >= MOST_AT_ONCE:
            raise TooManyCopies(
                f"this host takes {MOST_AT_ONCE} files for its VMs at once; try again later"
            )
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def _copied(
        self,
        first: wire.CopyIntoVmsRequest,
        rest: AsyncIterator[wire.CopyIntoVmsRequest],
        indices: IndexSet,
        groups: OutcomeGroups,
    ) -> None:
        """Raises BadCommand."""
        said = first.file
        file = GuestFile(
            said.path,
            said.mode,
            await _arrived(said, rest),
            said.digest,
            said.timeout_ms / 1000,
        )
        async with aclosing(self._files.put(first.fleet_uid, indices, file)) as answers:
            async for answered, answer in answers:
                groups.add(answered, answer)


async def _arrived(file: wire.CopiedFile, rest: AsyncIterator[wire.CopyIntoVmsRequest]) -> bytes:
    """Raises BadCommand."""
    arriving = Arriving(file)
    while not arriving.is_complete:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                arriving.add((await anext(rest)).data)
        except StopAsyncIteration:
            break
        except TimeoutError as error:
            raise BadCommand(f"no part of the file came for {SILENCE_SECONDS:g} s") from error
    return arriving.whole()
