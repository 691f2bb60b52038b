"""Files in hollow guests, in memory: of each only where it lies, its mode and its digest.

Out of a guest comes a content that follows from it and the path, in any folder that guests have: a
line, or as many bytes as the file's name says, such as /tmp/100000.

Guests have a few folders. Those that answer no command, by the profile, have no guest agent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator

from fleet.guest_commands.answers import Answer
from fleet.guest_commands.copies import PART_BYTES
from fleet.guest_commands.files_out import Leaving
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.ports import guest_files as port
from fleet_agent.drivers.ports.guest_files import GuestFile, Take, WantedFile

FOLDERS = frozenset(
    {"/", "/bin", "/etc", "/opt", "/root", "/srv", "/tmp", "/usr", "/var", "/var/log"}
)
_MOST_KEPT = 64
_MOST_DIGITS = 12


class HollowGuestFiles:
    """The GuestFiles port over a hollow hypervisor."""

    def __init__(self, hypervisor: HollowHypervisor, behaviour: Behaviour) -> None:
        self._hypervisor = hypervisor
        self._behaviour = behaviour
        self._kept: deque[tuple[str, IndexSet, str, int, bytes]] = deque(maxlen=_MOST_KEPT)

    async def put(
        self, fleet_uid: str, indices: IndexSet, file: GuestFile
    ) -> AsyncGenerator[tuple[IndexSet, Answer], None]:
        answering = self._answering(fleet_uid, indices)
        if rest := indices - answering:
            yield rest, port.NO_AGENT
        if not answering:
            return
        if taken := self._behaviour.profile.command_seconds:
            await self._behaviour.sleep(min(taken, file.seconds))
        answer = file.copied
        if taken > file.seconds:
            answer = port.unanswered(port.UNCHANGED)
        elif file.path in FOLDERS:
            answer = Answer.failed(port.IS_FOLDER)
        elif (file.path.rpartition("/")[0] or "/") not in FOLDERS:
            answer = Answer.failed(port.NO_FOLDER)
        else:
            self._kept.append((fleet_uid, answering, file.path, file.mode, file.digest))
        yield answering, answer

    async def get(
        self, fleet_uid: str, indices: IndexSet, wanted: WantedFile, take: Take
    ) -> AsyncGenerator[tuple[IndexSet, Answer], None]:
        answering = self._answering(fleet_uid, indices)
        if rest := indices - answering:
            yield rest, port.NO_AGENT
        taken = self._behaviour.profile.command_seconds
        if taken and answering:
            await self._behaviour.sleep(min(taken, wanted.seconds))
        if taken > wanted.seconds:
            yield answering, port.unanswered("")
            return
        for index in answering:
            yield IndexSet.of((index,)), await _given(fleet_uid, index, wanted, take)

    def _answering(self, fleet_uid: str, indices: IndexSet) -> IndexSet:
        """Those that have a guest agent."""
        _, active, _ = self._hypervisor.guests(fleet_uid)
        dice, without = self._behaviour.dice, EMPTY
        if self._behaviour.profile.silent_guests:
            without = IndexSet.of(one for one in indices & active if dice.is_silent(fleet_uid, one))
        return (indices & active) - without

    def held(self, fleet_uid: str, index: int, path: str) -> tuple[int, bytes] | None:
        """Mode and digest of what was copied there last."""
        for uid, indices, at, mode, digest in reversed(self._kept):
            if (uid, at) == (fleet_uid, path) and index in indices:
                return mode, digest
        return None


def content_of(fleet_uid: str, index: int, path: str) -> tuple[bytes, int]:
    """What a guest's file repeats, and how many bytes of that it has."""
    line = f"{path} of VM {index} of {fleet_uid}\n".encode()
    name = path.rpartition("/")[2]
    return line, int(name) if name.isdecimal() and len(name) < _MOST_DIGITS else len(line)


async def _given(fleet_uid: str, index: int, wanted: WantedFile, take: Take) -> Answer:
    if wanted.path in FOLDERS:
        return Answer.failed(port.IS_FOLDER)
    if (wanted.path.rpartition("/")[0] or "/") not in FOLDERS:
        return Answer.failed(port.NO_FILE)
    line, size = content_of(fleet_uid, index, wanted.path)
    if size > wanted.most_bytes:
        return port.too_large(wanted.most_bytes)
    leaving, block = Leaving(index), line * (PART_BYTES // len(line))
    while left := size - leaving.size:
        for part in leaving.add(block[:left]):
            await take(part)
    await take(leaving.last())
    return port.SENT
