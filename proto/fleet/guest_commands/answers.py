"""What one VM answered to a command, and what may be asked.

Two VMs have answered alike when their answers are equal in all of it. A digest is whatever the
host says: by itself it makes nothing equal, so that a host that lies changes nobody else's answer.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from fleet.v1 import commands_pb2 as wire

LONGEST_LINE = 16 * 1024
LONGEST_USER = 32
LONGEST_REASON = 200
MOST_OUTPUT_BYTES = 64 * 1024
DEFAULT_OUTPUT_BYTES = 4 * 1024
SHORTEST_MS, LONGEST_MS = 100, 3_600_000
MOST_EXIT_CODE = 255
_DIGEST_BYTES = 32
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}[a-z0-9_$-]?")

# What a host may say of a VM.
OF_HOSTS: frozenset[int] = frozenset(
    {
        wire.COMMAND_OUTCOME_ENDED,
        wire.COMMAND_OUTCOME_NO_ANSWER,
        wire.COMMAND_OUTCOME_NO_SHELL,
        wire.COMMAND_OUTCOME_CONSOLE_TAKEN,
        wire.COMMAND_OUTCOME_FAILED,
    }
)


class BadCommand(Exception):
    """No VM can be asked this; one sentence."""


class BadAnswer(Exception):
    """No host may answer this; one sentence."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`output`: its beginning, of `total` bytes. `others`: stands for many that differ."""

    outcome: wire.CommandOutcome.ValueType
    exit_code: int = 0
    output: bytes = b""
    total: int = 0
    digest: bytes = b""
    reason: str = ""
    others: bool = False

    @classmethod
    def ended(cls, exit_code: int, output: bytes, most: int) -> Answer:
        """Of a whole output, of which `most` bytes are kept."""
        kept, digest = output[:most], hashlib.sha256(output).digest()
        return cls(wire.COMMAND_OUTCOME_ENDED, exit_code, kept, len(output), digest)

    @classmethod
    def failed(cls, reason: str) -> Answer:
        return cls(wire.COMMAND_OUTCOME_FAILED, reason=reason[:LONGEST_REASON])

    @property
    def is_cut(self) -> bool:
        return self.total > len(self.output)

    @property
    def without_output(self) -> Answer:
        """What stands for all further ones that have ended so."""
        return Answer(self.outcome, self.exit_code, others=True)

    @property
    def size(self) -> int:
        return len(self.output) + len(self.reason)

    def message(self) -> wire.OutcomeText:
        return wire.OutcomeText(
            outcome=self.outcome,
            exit_code=self.exit_code,
            output=self.output,
            output_total=self.total,
            digest=self.digest,
            reason=self.reason,
            others=self.others,
        )


def answer_of(text: wire.OutcomeText, most_output: int, allowed: frozenset[int]) -> Answer:
    """As somebody else says it. Raises BadAnswer."""
    if text.outcome not in allowed:
        raise BadAnswer(f"it says the outcome {text.outcome} of a command")
    if text.exit_code > MOST_EXIT_CODE:
        raise BadAnswer(f"it says the exit code {text.exit_code}")
    if len(text.output) > most_output or text.output_total < len(text.output):
        raise BadAnswer(f"it says {len(text.output):,} bytes of {text.output_total:,} of output")
    if len(text.digest) > _DIGEST_BYTES or len(text.reason) > LONGEST_REASON:
        raise BadAnswer("it says more of an answer than there is to say")
    return Answer(
        text.outcome,
        text.exit_code,
        text.output,
        text.output_total,
        text.digest,
        text.reason,
        text.others,
    )


def check_command(command: wire.GuestCommand) -> None:
    """Raises BadCommand."""
    line = command.line
    if not line.strip():
        raise BadCommand("there is no command to run")
    if len(line.encode()) > LONGEST_LINE:
        raise BadCommand(f"a command has at most {LONGEST_LINE:,} bytes")
    if "\0" in line:
        raise BadCommand("a command has no NUL in it")
    if command.user and not _USER.fullmatch(command.user):
        raise BadCommand(f"{command.user[:40]!a} is no name of a user")
    if not SHORTEST_MS <= command.timeout_ms <= LONGEST_MS:
        raise BadCommand("a command has 0.1 s to 1 h in each VM")
    if not 1 <= command.output_bytes <= MOST_OUTPUT_BYTES:
        raise BadCommand(f"of an output 1 to {MOST_OUTPUT_BYTES:,} bytes are kept")
