"""The RPC CopyFromVms: one file out of each of many VMs, in parts as they are read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager

from fleet.guest_commands.answers import BadCommand
from fleet.guest_commands.files_out import check_wanted
from fleet.guest_commands.groups import MOST_BYTES_ON_HOST, MOST_ON_HOST, OutcomeGroups
from fleet.ranges import IndexSet
from fleet.service import Context
from fleet.v1 import commands_pb2 as commands
from fleet.v1 import copies_pb2 as wire
from fleet.wire_ranges import from_wire
from fleet_agent.api.guest_commands import tell
from fleet_agent.api.guest_files import TooManyCopies
from fleet_agent.drivers.ports.guest_files import SENT, GuestFiles, NotTaken, WantedFile

# Each holds some parts of 16 files.
MOST_AT_ONCE = 8
# Seconds in which nothing is taken. The leader gives its caller less, for each of its hosts.
NOT_TAKEN_SECONDS = 1_200.0


class FilesOut:
    """What is being copied out of this host's VMs."""

    def __init__(self, files: GuestFiles) -> None:
        self._files = files
        self._under_way = 0

    async def serve(self, request: wire.CopyFromVmsRequest, context: Context) -> None:
        """Until all have answered, or the caller has gone. Raises BadCommand, TooManyCopies,
        NotTaken."""
        check_wanted(request.file)
        try:
            indices = from_wire(request.indices)
        except ValueError as error:
            raise BadCommand(str(error)) from error
        most = min(request.most_answers or MOST_ON_HOST, MOST_ON_HOST)
        groups = OutcomeGroups(most, MOST_BYTES_ON_HOST)
        with self._place():
            outlet = Outlet(context)
            await tell(self._sent(request, indices, groups, outlet), groups, outlet)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._under_way >= MOST_AT_ONCE:
            raise TooManyCopies(
                f"files are copied out of this host's VMs {MOST_AT_ONCE} times at once already; "
                "try again later"
            )
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def _sent(
        self,
        request: wire.CopyFromVmsRequest,
        indices: IndexSet,
        groups: OutcomeGroups,
        outlet: Outlet,
    ) -> None:
        wanted = WantedFile(
            request.file.path, request.file.most_bytes, request.file.timeout_ms / 1000
        )
        files = self._files.get(request.fleet_uid, indices, wanted, outlet.take)
        async with aclosing(files) as answers:
            async for answered, answer in answers:
                if answer != SENT:
                    await outlet.give_up(answered)
                    groups.add(answered, answer)


class Outlet:
    """One call's answers, written by several one after the other."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._turns = asyncio.Lock()
        self._begun: set[int] = set()  # and not ended

    async def take(self, part: wire.FilePart) -> None:
        """Raises NotTaken."""
        if part.HasField("end") or part.given_up:
            self._begun.discard(part.index)
        else:
            self._begun.add(part.index)
        await self._write(wire.CopyFromVmsAnswer(part=part))

    async def give_up(self, indices: IndexSet) -> None:
        """What came of their files is none. Raises NotTaken."""
        for index in [one for one in self._begun if one in indices]:
            await self.take(wire.FilePart(index=index, given_up=True))

    async def write(self, said: commands.RunInVmsAnswer) -> None:
        """Raises NotTaken."""
        await self._write(wire.CopyFromVmsAnswer(groups=said.groups))

    async def _write(self, answer: wire.CopyFromVmsAnswer) -> None:
        async with self._turns:
            try:
                async with asyncio.timeout(NOT_TAKEN_SECONDS):
                    await self._context.write(answer)
            except TimeoutError as error:
                message = f"nothing of the files was taken for {NOT_TAKEN_SECONDS:g} s"
                raise NotTaken(message) from error
