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
| 130 | Ctrl-C, where nothing was accepted or waited for; `watch`, `top`, `--follow` end with 0 |
"""

# What goes wrong with a cluster is `megafleet.errors`; here is what is fleetctl's own.

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

from megafleet.errors import (
    Failed,
    FailedForGood,
    InvalidArgument,
    MegafleetError,
    NoAnswer,
    NotConverged,
    Refused,
    Unavailable,
    Unreachable,
)
from megafleet.texts import one_line, printable

__all__ = [
    "ExitCode", "Failed", "FailedForGood", "Misuse", "NoAnswer", "NotConverged", "OutputLost",
    "Refused", "Trouble", "Unavailable", "Unreachable", "exit_code", "one_line", "printable",
]  # fmt: skip


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


# Why a command cannot do what was asked: the client's errors, and the one below.
Trouble: TypeAlias = MegafleetError
# What was typed cannot be meant.
Misuse: TypeAlias = InvalidArgument


class OutputLost(MegafleetError):
    """What was done cannot be told: the disk is full. A change that was asked for was accepted."""


_CODES: tuple[tuple[type[MegafleetError], ExitCode], ...] = (
    (InvalidArgument, ExitCode.USAGE),
    (NotConverged, ExitCode.NOT_CONVERGED),
    (FailedForGood, ExitCode.FAILED_FOR_GOOD),
    (Unreachable, ExitCode.UNREACHABLE),
    (OutputLost, ExitCode.OUTPUT_LOST),
)


def exit_code(trouble: Trouble) -> ExitCode:
    """What a command ends with that ends with this. Errors of one command may name another code:
    in `code`."""
    if isinstance(own := getattr(trouble, "code", None), ExitCode):
        return own
    return next((code for kind, code in _CODES if isinstance(trouble, kind)), ExitCode.FAILED)
