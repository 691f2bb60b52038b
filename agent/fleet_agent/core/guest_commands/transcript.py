"""What a console prints while a command runs, read as it comes: the output between the marks.

A guest is not believed in anything but what concerns itself. It may print whatever it likes, as
much as it likes, and knows its own marks; what is kept is bounded.
"""

from __future__ import annotations

import hashlib
import re

from fleet.guest_commands.answers import Answer
from fleet.v1 import commands_pb2 as wire
from fleet_agent.core.guest_commands.typed_line import Marks
from fleet_agent.core.plain_lines import plain_lines

# Of a mark's end: three digits and a full stop.
_CODE = re.compile(rb"([0-9]{1,3})\.")
_CODE_BYTES = 4
# A prompt that asks who is there: what is typed at it is no command.
_ASKS_WHO = re.compile(r"(?:login|username|password) ?: ?", re.IGNORECASE)
# A run as a whole, whatever follows: its length counts once, not squared.
_RETURNS = re.compile(rb"\r+\n?")
_LAST_LINE_END = re.compile(rb"\r{0,4}\n?\Z")
_PROMPT_BYTES = 256


def asks_who(printed: bytes) -> bool:
    """Whether a console's last line is a prompt for a name or a password."""
    last = plain_lines(printed[-_PROMPT_BYTES:].decode("utf-8", "replace"))[-1]
    return _ASKS_WHO.search(last) is not None and last.rstrip().endswith(":")


class Transcript:
    """Of one command at one console."""

    def __init__(self, marks: Marks, most: int) -> None:
        """`most`: bytes of output that are kept."""
        self._marks = marks
        self._begin = re.compile(re.escape(marks.begin) + rb"\r{0,4}\n")
        self._most = most
        self._rest = b""  # that is not judged yet
        self._output = bytearray()
        self._total = 0
        self._digest = hashlib.sha256()
        self.begun = False
        self.exit_code: int | None = None

    @property
    def stuck(self) -> bool:
        """Whether a login prompt has taken what was typed."""
        return not self.begun and asks_who(self._rest)

    def add(self, printed: bytes) -> None:
        """Nothing is read beyond the end of the command."""
        if self.exit_code is not None:
            return
        self._rest += printed
        if not self.begun:
            self._find_begin()
        if self.begun:
            self._find_end()

    def answer(self) -> Answer:
        """Of a command that has ended, or has not."""
        ended = self.exit_code is not None
        return Answer(
            wire.COMMAND_OUTCOME_ENDED if ended else wire.COMMAND_OUTCOME_NO_ANSWER,
            self.exit_code or 0,
            bytes(self._output) if ended else b"",
            self._total if ended else 0,
            self._digest.digest() if ended else b"",
        )

    def _find_begin(self) -> None:
        found = self._begin.search(self._rest)
        self.begun = found is not None
        # Else what may be the beginning of a mark, or a prompt.
        self._rest = self._rest[found.end() if found else -_PROMPT_BYTES :]

    def _find_end(self) -> None:
        mark, found, start = self._marks.end, None, 0
        while (at := self._rest.find(mark, start)) >= 0:
            found = _CODE.match(self._rest, at + len(mark))
            if found is not None:
                break
            if len(self._rest) < at + len(mark) + _CODE_BYTES:
                self._keep(at)
                return
            start = at + 1
        if found is None:
            # The beginning of a mark, or of the end of a line before it, may be the last there is.
            self._keep(max(0, len(self._rest) - len(mark) - _CODE_BYTES))
            return
        self.exit_code = min(int(found[1]), 255)
        self._put(_without_last_line_end(self._rest[:at]))
        self._rest = b""

    def _keep(self, upto: int) -> None:
        """What is before that is output, but for the end of a line that may belong to a mark."""
        ready = self._rest[: max(0, upto)]
        ready = _LAST_LINE_END.sub(b"", ready, count=1)
        self._put(ready)
        self._rest = self._rest[len(ready) :]

    def _put(self, raw: bytes) -> None:
        data = _RETURNS.sub(_line_end, raw)
        self._total += len(data)
        self._digest.update(data)
        self._output += data[: self._most - len(self._output)]


def _line_end(returns: re.Match[bytes]) -> bytes:
    return b"\n" if returns[0].endswith(b"\n") else returns[0]


def _without_last_line_end(data: bytes) -> bytes:
    """The one that is printed before a mark."""
    if data.endswith(b"\n"):
        return data[:-1].rstrip(b"\r")
    return data
