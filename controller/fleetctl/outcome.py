"""How a command ends: an exit code, and one sentence on stderr when it is not 0.

| code | meaning |
|---|---|
| 0 | done |
| 1 | failed: the controller refuses what is asked, it was superseded, or it is not possible here |
| 2 | usage: an unknown option, a total that is no number, a fleet file with mistakes |
| 3 | accepted, and not converged yet: the timeout or Ctrl-C ended the waiting |
| 4 | no controller answers, or none takes it from this certificate |
| 5 | done as far as the output had come, and the rest of the output could not be written |
| 6 | accepted; all that is missing has failed for reasons that no waiting mends |
| 130 | Ctrl-C, where nothing was accepted or nothing was waited for |
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What fleetctl's process ends with. 130, as shells have it, for Ctrl-C elsewhere."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_CONVERGED = 3
    UNREACHABLE = 4
    OUTPUT_LOST = 5
    FAILED_FOR_GOOD = 6
    INTERRUPTED = 130


class Trouble(Exception):
    """A command cannot do what was asked: a sentence for people, and the exit code."""

    code = ExitCode.FAILED

    def __init__(self, message: str, *, reason: str = "") -> None:
        """`reason` is the controller's stable, machine-readable one; empty when not from it."""
        super().__init__(message)
        self.message = message
        self.reason = reason


class Failed(Trouble):
    """Refused, or not possible."""


class Misuse(Trouble):
    """What was typed cannot be meant."""

    code = ExitCode.USAGE


class NotConverged(Trouble):
    """Accepted and still going on."""

    code = ExitCode.NOT_CONVERGED


class FailedForGood(Trouble):
    """Accepted, and what is missing waits for somebody to change something."""

    code = ExitCode.FAILED_FOR_GOOD


class Unreachable(Trouble):
    """No controller answers, or it does not let us."""

    code = ExitCode.UNREACHABLE


class OutputLost(Trouble):
    """What was done cannot be told: the disk is full. A change that was asked for was accepted."""

    code = ExitCode.OUTPUT_LOST


class Unavailable(Unreachable):
    """No controller answers at the moment: another try may succeed."""


class NoAnswer(Unavailable):
    """The deadline passed: what was asked for may or may not have been done."""


def printable(text: str) -> str:
    """A text from elsewhere without anything that would steer a terminal."""
    return "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in text)


def one_line(text: str) -> str:
    """The same where no line may end: a cell, a sentence."""
    if text.isprintable():  # nearly always, and a list has a million cells
        return text
    return printable(text).replace("\n", "\\n")
