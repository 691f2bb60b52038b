"""One file out of each of many VMs of a fleet: passed on part by part, and held by nobody here.

Of each host one part at a time is on its way, and the next one is read when the caller has taken
it: who reads slowly slows down what is sent to him, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fleet.guest_commands.answers import Answer, BadAnswer, BadCommand
from fleet.guest_commands.files_out import MOST_OPEN, OF_FILES_OUT, Coming, check_wanted
from fleet.ranges import IndexSet
from fleet.v1 import commands_pb2 as commands
from fleet.v1 import copies_pb2 as wire
from fleet.wire_ranges import to_wire
from fleet_controller.agents.port import Answers, Misbehaved, NoAnswer
from fleet_controller.core.names import one_line
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.relay.asked_vms import SILENCE_SECONDS, AskedVms, HostAnswers, HostSaid
from fleet_controller.relay.copies import AUDITED, CopiesUnderWay
from fleet_controller.relay.paced import ReadPace
from fleet_controller.relay.relay import Relay

MOST_AT_ONCE = 8
# One part of each, and what its connection holds.
HOSTS_AT_ONCE = 16
# Seconds in which the caller takes nothing.
NOT_TAKEN_SECONDS = 60.0
# Of a host, a second: parts of small files are messages of their own.
_PACE = ReadPace(4_000, 128 << 20)
# Seconds that an answer without a part counts for at least: an honest host says half as often that
# it goes on.
_EMPTY_SECONDS = 0.25
# Seconds that a host has for each VM beside the VM's own, to close the file there.
_CLOSE_SECONDS = 15.0

Send = Callable[[wire.CopyFromFleetAnswer], Awaitable[None]]


def under_way() -> CopiesUnderWay:
    return CopiesUnderWay(MOST_AT_ONCE, "copies of files out of VMs are under way")


class CallerSilent(Exception):
    """Whoever asked takes nothing."""


class FilesOut(AskedVms):
    """One path, for one operator."""

    what = "copies of files out of VMs"
    allowed = OF_FILES_OUT
    hosts_at_once = HOSTS_AT_ONCE
    pace = _PACE

    def __init__(
        self,
        relay: Relay,
        memory: LeaderMemory,
        writer: ChangeWriter,
        request: wire.CopyFromFleetRequest,
        actor: str,
    ) -> None:
        """Raises Refused."""
        super().__init__(relay, memory, writer, request, actor)
        self._file = request.file
        self._sending = asyncio.Lock()
        self._send: Send | None = None
        try:
            check_wanted(self._file)
        except BadCommand as error:
            raise Refused(Reason.BAD_QUERY, str(error)) from error

    async def write_down(self) -> None:
        """In the audit trail, without the content. Raises Refused, StoreError."""
        path, which = one_line(self._file.path, AUDITED), one_line(self.which, AUDITED)
        text = f"{self.where} ({which}): {path}, at most {self._file.most_bytes:,} bytes of each"
        await self.audited("vms_copy_out", text, f"files were copied out of {text}")

    async def pass_on(self, send: Send) -> None:
        """As `run`, with the parts. Raises LeadershipLost, Refused."""
        self._send = send
        try:
            await self.run(self._tell_on)
        except CallerSilent as error:
            message = f"nothing of the files was taken for {NOT_TAKEN_SECONDS:g} s"
            raise Refused(Reason.BAD_QUERY, message) from error

    def longest(self, share: IndexSet) -> None:
        """The caller's own time does not count: see Within."""

    def check(self, answer: Answer) -> None:
        """Why a VM has no such file is its own word."""

    def asked(self, host_id: str, share: IndexSet, most: int) -> Answers[HostSaid]:
        request = wire.CopyFromVmsRequest(
            term=self._relay.term,
            host_id=host_id,
            fleet_uid=self._fleet.uid,
            indices=to_wire(share),
            file=self._file,
            most_answers=most,
        )
        # Were it one VM after the other, no host would need longer.
        each = self._file.timeout_ms / 1000 + _CLOSE_SECONDS
        seconds = SILENCE_SECONDS + each * (len(share) / MOST_OPEN + 1)
        return Within(self._relay.questions(host_id).copy_from_vms(request), seconds)

    def answers_of(self, share: IndexSet) -> HostAnswers:
        return HostFiles(share, self, self._file.most_bytes)

    async def hear(self, answer: HostSaid, heard: HostAnswers) -> None:
        if isinstance(answer, wire.CopyFromVmsAnswer) and answer.HasField("part"):
            assert isinstance(heard, HostFiles)
            heard.take(answer.part)
            if answer.part.HasField("end"):
                self._groups.add_untold(1)
            await self._pass(wire.CopyFromFleetAnswer(part=answer.part))
        if answer.groups:
            await super().hear(answer, heard)

    async def _tell_on(self, said: commands.RunInFleetAnswer) -> None:
        await self._pass(wire.CopyFromFleetAnswer(said=said))

    async def _pass(self, answer: wire.CopyFromFleetAnswer) -> None:
        assert self._send is not None
        async with self._sending:
            try:
                async with asyncio.timeout(NOT_TAKEN_SECONDS):
                    await self._send(answer)
            except TimeoutError as error:
                raise CallerSilent from error


class HostFiles(HostAnswers):
    """The files of one host, checked: each once, no longer than asked for, only so many begun."""

    def __init__(self, share: IndexSet, call: AskedVms, most_bytes: int) -> None:
        super().__init__(share, call)
        self._most_bytes = most_bytes
        self._open: dict[int, Coming] = {}
        self._given_up: set[int] = set()

    def take(self, part: wire.FilePart) -> None:
        """Raises Misbehaved."""
        index = part.index
        if index not in self.left or index in self._given_up:
            raise Misbehaved(
                f"it sends a file of VM {index}, which was not asked for, or has ended"
            )
        if part.given_up:
            self._open.pop(index, None)
            self._given_up.add(index)
            return
        if index not in self._open and len(self._open) >= MOST_OPEN:
            raise Misbehaved(f"it sends more than {MOST_OPEN} files at once")
        try:
            self._open.setdefault(index, Coming(self._most_bytes)).add(part)
        except BadAnswer as error:
            raise Misbehaved(str(error)) from error
        if part.HasField("end"):
            del self._open[index]
            self.left = self.left - IndexSet.of((index,))

    def of(self, said: HostSaid) -> list[tuple[IndexSet, Answer]]:
        told = super().of(said)
        for index in [one for one in self._open if one not in self.left]:
            del self._open[index]
        return told


class Within:
    """One host's answers, for which it is waited so many seconds in all: the time between two
    readings is the reader's own. A host that says without end that it goes on uses them up too."""

    def __init__(self, answers: Answers[wire.CopyFromVmsAnswer], seconds: float) -> None:
        self._answers = answers
        self._left = seconds
        self._seconds = seconds
        self._clock = asyncio.get_running_loop().time
        self._ended = self._clock()
        self._away = 0.0  # seconds of the reader, in which the host may have gone on

    async def read(self) -> wire.CopyFromVmsAnswer | None:
        began = self._clock()
        self._away += began - self._ended
        try:
            async with asyncio.timeout(max(0.0, self._left)):
                answer = await self._answers.read()
        except TimeoutError as error:
            raise NoAnswer(f"it has not ended after {self._seconds:,.0f} s") from error
        self._ended = self._clock()
        waited = self._ended - began
        self._left -= waited
        if answer is not None and not answer.HasField("part") and waited < _EMPTY_SECONDS:
            covered = min(self._away, _EMPTY_SECONDS - waited)
            self._away -= covered
            self._left -= _EMPTY_SECONDS - waited - covered
        return answer

    def cancel(self) -> None:
        self._answers.cancel()
