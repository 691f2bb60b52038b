"""One command in many VMs of a fleet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fleet.guest_commands.answers import OF_HOSTS, Answer, BadCommand, check_command
from fleet.ranges import IndexSet
from fleet.v1 import commands_pb2 as wire
from fleet.wire_ranges import to_wire
from fleet_controller.agents.port import Answers
from fleet_controller.core.names import one_line
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.relay.asked_vms import AskedVms, HostSaid, in_turns
from fleet_controller.relay.relay import Relay

# Seconds for the first message, which says what is asked.
FIRST_SECONDS = 20.0
_AUDITED = 160
# Half of what agents do, so that a busy host has time enough.
_AT_ONCE_ON_HOST = 32


async def first_request(inputs: AsyncIterator[wire.RunInFleetRequest]) -> wire.RunInFleetRequest:
    """Raises Refused."""
    try:
        async with asyncio.timeout(FIRST_SECONDS):
            return await anext(inputs)
    except (TimeoutError, StopAsyncIteration) as error:
        message = "the first message says what is to be run; there was none"
        raise Refused(Reason.BAD_QUERY, message) from error


class CommandRun(AskedVms):
    """One command of one operator."""

    what = "commands in VMs"
    allowed = OF_HOSTS

    def __init__(
        self,
        relay: Relay,
        memory: LeaderMemory,
        writer: ChangeWriter,
        request: wire.RunInFleetRequest,
        actor: str,
    ) -> None:
        """Raises Refused."""
        super().__init__(relay, memory, writer, request, actor)
        try:
            check_command(request.command)
        except BadCommand as error:
            raise Refused(Reason.BAD_QUERY, str(error)) from error
        self._command = request.command
        self.most_output = request.command.output_bytes

    async def write_down(self) -> None:
        """In the audit trail, before anything is asked. Raises Refused, StoreError."""
        who = f" as {self._command.user}" if self._command.user else ""
        text = f"{self.where}{who}: {one_line(self._command.line, _AUDITED)}"
        await self.audited("vms_run", text, f"a command was run in {text}")

    def longest(self, share: IndexSet) -> float:
        return in_turns(share, self._command.timeout_ms / 1000, _AT_ONCE_ON_HOST)

    def check(self, answer: Answer) -> None:
        """Whatever a VM answers to a command is its own word."""

    def asked(self, host_id: str, share: IndexSet, most: int) -> Answers[HostSaid]:
        request = wire.RunInVmsRequest(
            term=self._relay.term,
            host_id=host_id,
            fleet_uid=self._fleet.uid,
            indices=to_wire(share),
            command=self._command,
            actor=self._actor,
            most_answers=most,
        )
        return self._relay.questions(host_id).run_in_vms(request)
