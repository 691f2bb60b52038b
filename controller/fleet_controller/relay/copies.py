"""One file copied into many VMs of a fleet: taken in whole first, then given to each host once.

The content is held here for as long as that takes, so few are under way at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TypeVar

from google.protobuf.message import Message

from fleet.guest_commands.answers import Answer, BadAnswer, BadCommand
from fleet.guest_commands.copies import OF_COPIES, Arriving, check_file, parts_of
from fleet.ranges import IndexSet
from fleet.v1 import commands_pb2 as commands
from fleet.v1 import copies_pb2 as wire
from fleet.wire_ranges import to_wire
from fleet_controller.agents.port import Answers, CopyTalk, LinkError
from fleet_controller.core.names import one_line
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.relay.asked_vms import AskedVms, HostSaid, in_turns
from fleet_controller.relay.relay import Relay

# Seconds for each message of whoever hands the file in.
NEXT_SECONDS = 20.0
MOST_AT_ONCE = 4
# Each is sent the content: of one host after the other, the network has enough to do.
HOSTS_AT_ONCE = 32
AUDITED = 160
# Half of what agents do, so that a busy host has time enough.
_AT_ONCE_ON_HOST = 8

Inputs = AsyncIterator[wire.CopyIntoFleetRequest]
First = TypeVar("First", bound=Message)


def under_way() -> CopiesUnderWay:
    return CopiesUnderWay(MOST_AT_ONCE, "files are being copied into VMs")


class CopiesUnderWay:
    """In one controller. `what`: in words."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._count = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Raises Refused."""
        if self._count >= self._most:
            message = f"{self._most} {self._what} already; try again later"
            raise Refused(Reason.OVER_QUOTA, message)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


async def next_request(inputs: AsyncIterator[First]) -> First:
    """Raises Refused."""
    try:
        async with asyncio.timeout(NEXT_SECONDS):
            return await anext(inputs)
    except (TimeoutError, StopAsyncIteration) as error:
        message = "what is to be copied did not come whole; no VM was touched"
        raise Refused(Reason.BAD_QUERY, message) from error


class FileCopy(AskedVms):
    """One file of one operator."""

    what = "copies of files into VMs"
    allowed = OF_COPIES
    hosts_at_once = HOSTS_AT_ONCE

    def __init__(
        self,
        relay: Relay,
        memory: LeaderMemory,
        writer: ChangeWriter,
        request: wire.CopyIntoFleetRequest,
        actor: str,
    ) -> None:
        """Raises Refused."""
        super().__init__(relay, memory, writer, request, actor)
        self._file = request.file
        self._content = b""
        try:
            check_file(self._file)
        except BadCommand as error:
            raise Refused(Reason.BAD_QUERY, str(error)) from error

    async def take_in(self, inputs: Inputs) -> None:
        """The content, before anything is asked. Raises Refused."""
        arriving = Arriving(self._file)
        try:
            while not arriving.is_complete:
                arriving.add((await next_request(inputs)).data)
            self._content = arriving.whole()
        except BadCommand as error:
            raise Refused(Reason.BAD_QUERY, f"{error}; no VM was touched") from error

    async def write_down(self) -> None:
        """In the audit trail, with the digest, without the content. Raises Refused, StoreError."""
        path = one_line(self._file.path, AUDITED)
        digest = f"SHA-256 {self._file.digest.hex()}"
        text = f"{self.where}: {path}, {self._file.size:,} bytes, {digest}"
        await self.audited("vms_copy", text, f"a file was copied into {text}")

    def longest(self, share: IndexSet) -> float:
        return in_turns(share, self._file.timeout_ms / 1000, _AT_ONCE_ON_HOST)

    def check(self, answer: Answer) -> None:
        copied = answer.outcome == commands.COMMAND_OUTCOME_COPIED
        if copied and answer.digest != self._file.digest:
            raise BadAnswer("it says that another file was copied than the one that was sent")

    def asked(self, host_id: str, share: IndexSet, most: int) -> Answers[HostSaid]:
        first = wire.CopyIntoVmsRequest(
            term=self._relay.term,
            host_id=host_id,
            fleet_uid=self._fleet.uid,
            indices=to_wire(share),
            file=self._file,
            most_answers=most,
        )
        talk = self._relay.questions(host_id).copy_into_vms()
        return HandedIn(talk, first, self._content)


class HandedIn:
    """One host's call, to which the content is written while its answers are read: from the first
    one on, so that whoever refuses is not sent it."""

    def __init__(self, talk: CopyTalk, first: wire.CopyIntoVmsRequest, content: bytes) -> None:
        self._talk = talk
        self._taken = asyncio.Event()
        self._handing = asyncio.create_task(self._hand(first, content))

    async def read(self) -> commands.RunInVmsAnswer | None:
        answer = await self._talk.read()
        self._taken.set()
        return answer

    def cancel(self) -> None:
        self._handing.cancel()
        self._talk.cancel()

    async def _hand(self, first: wire.CopyIntoVmsRequest, content: bytes) -> None:
        """What goes wrong with the call, its reader finds as well."""
        try:
            await self._talk.write(first)
            await self._taken.wait()
            for part in parts_of(content):
                await self._talk.write(wire.CopyIntoVmsRequest(data=part))
            await self._talk.done_writing()
        except LinkError:
            return
