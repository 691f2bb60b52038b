"""Commands in hollow guests: a shell of a few words, in memory, for all guests of a host at once.

What a guest answers follows from its name; how long it takes, and which guests never answer, from
the profile.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import AsyncGenerator

from fleet.guest_commands.answers import Answer
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import commands_pb2 as wire
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.ports.guest_commands import NO_SUCH_GUEST, NOT_RUNNING, GuestCommand

_KERNEL = "hollow"
_NUMBER = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3})?")


class HollowGuestCommands:
    """The GuestCommands port over a hollow hypervisor."""

    def __init__(self, hypervisor: HollowHypervisor, behaviour: Behaviour) -> None:
        self._hypervisor = hypervisor
        self._behaviour = behaviour

    async def run(
        self, fleet_uid: str, indices: IndexSet, command: GuestCommand
    ) -> AsyncGenerator[tuple[IndexSet, Answer], None]:
        name, active, defined = self._hypervisor.guests(fleet_uid)
        running, silent = indices & active, EMPTY
        if rest := indices - defined:
            yield rest, Answer.failed(NO_SUCH_GUEST)
        if rest := (indices & defined) - active:
            yield rest, Answer.failed(NOT_RUNNING)
        if self._behaviour.profile.silent_guests:
            dice = self._behaviour.dice
            silent = IndexSet.of(one for one in running if dice.is_silent(fleet_uid, one))
        answering = running - silent
        taken = seconds_of(command.line) + self._behaviour.profile.command_seconds
        if taken:
            await self._behaviour.sleep(min(taken, command.seconds))
        if taken > command.seconds:
            silent, answering = running, EMPTY
        for answer, some in _answers(name, answering, command).items():
            yield IndexSet(some), answer
        if silent:
            await self._behaviour.sleep(max(0.0, command.seconds - taken))
            yield silent, Answer(wire.COMMAND_OUTCOME_NO_ANSWER)


def _answers(
    fleet: str, indices: IndexSet, command: GuestCommand
) -> dict[Answer, list[tuple[int, int]]]:
    """Each guest is asked; those that answer alike are told together."""
    if not indices:
        return {}
    made: dict[tuple[int, str], list[tuple[int, int]]] = {}
    for index in indices:
        key = said(command.line, command.user, f"{fleet}-{index}", index)
        made.setdefault(key, []).append((index, index + 1))
    most = command.output_bytes
    return {Answer.ended(code, text.encode(), most): some for (code, text), some in made.items()}


def seconds_of(line: str) -> float:
    """How long a guest is at it."""
    words = _words(line)
    slept = len(words) == 2 and words[0] == "sleep" and _NUMBER.fullmatch(words[1])
    return float(words[1]) if slept else 0.0


def said(line: str, user: str, name: str, index: int) -> tuple[int, str]:
    """Exit code and output of one guest."""
    if user not in ("", "root"):
        return 1, f"su: user {user} does not exist\n"
    match _words(line):
        case ["hostname"]:
            return 0, f"{name}\n"
        case ["id"]:
            return 0, f"name={name} index={index}\n"
        case ["uname", "-r"]:
            return 0, f"{_KERNEL}\n"
        case ["echo", *words]:
            return 0, " ".join(words) + "\n"
        case ["false"]:
            return 1, ""
        case ["true"] | ["sleep", _]:
            return 0, ""
        case ["exit", code] if code.isdecimal() and len(code) <= 3:
            return int(code) & 255, ""
        case [word, *_]:
            return 127, f"sh: {word}: not found\n"
    return 2, "sh: syntax error\n"


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return []
