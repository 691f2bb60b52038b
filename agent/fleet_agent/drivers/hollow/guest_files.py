"""Files in hollow guests, in memory: of each only where it lies, its mode and its digest.

Guests have a few folders. Those that answer no command, by the profile, have no guest agent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator

from fleet.guest_commands.answers import Answer
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.ports import guest_files as port
from fleet_agent.drivers.ports.guest_files import GuestFile

FOLDERS = frozenset({"/", "/bin", "/etc", "/opt", "/root", "/srv", "/tmp", "/usr", "/var"})
_MOST_KEPT = 64


class HollowGuestFiles:
    """The GuestFiles port over a hollow hypervisor."""

    def __init__(self, hypervisor: HollowHypervisor, behaviour: Behaviour) -> None:
        self._hypervisor = hypervisor
        self._behaviour = behaviour
        self._kept: deque[tuple[str, IndexSet, str, int, bytes]] = deque(maxlen=_MOST_KEPT)

    async def put(
        self, fleet_uid: str, indices: IndexSet, file: GuestFile
    ) -> AsyncGenerator[tuple[IndexSet, Answer], None]:
        _, active, _ = self._hypervisor.guests(fleet_uid)
        dice, without = self._behaviour.dice, EMPTY
        if self._behaviour.profile.silent_guests:
            without = IndexSet.of(one for one in indices & active if dice.is_silent(fleet_uid, one))
        answering = (indices & active) - without
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

    def held(self, fleet_uid: str, index: int, path: str) -> tuple[int, bytes] | None:
        """Mode and digest of what was copied there last."""
        for uid, indices, at, mode, digest in reversed(self._kept):
            if (uid, at) == (fleet_uid, path) and index in indices:
                return mode, digest
        return None
