"""A console's log as text, and what is typed at it, taken apart. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import click

from fleetctl.outcome import printable

KIB = 1024
# The agent sends no more of a log.
MAX_LOG_BYTES = 1024 * KIB
# What a line of a log may take when a number of lines is asked for.
BYTES_A_LINE = KIB
DEFAULT_LINES = 100

_UNITS = {"B": 1, "K": KIB, "KIB": KIB, "M": KIB * KIB, "MIB": KIB * KIB}
_STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@dataclass(frozen=True, slots=True)
class LogPart:
    """The end of a log: `bytes_` of it, and of these the last `lines` (0: all)."""

    bytes_: int
    lines: int = 0


def log_part(text: str) -> LogPart:
    """100: lines; 64KiB, 64K, 4096B: bytes. Raises click.BadParameter."""
    found = re.fullmatch(r"([0-9]{1,9})([A-Za-z]*)", text)
    unit = found[2].upper() if found else ""
    if found is None or (unit and unit not in _UNITS):
        raise click.BadParameter(
            f"{text[:40]!r} is no number of lines, 100, or bytes, 64KiB; the VM stands before --log"
        )
    count = int(found[1])
    if not unit:
        return LogPart(min(MAX_LOG_BYTES, count * BYTES_A_LINE), count)
    if count * _UNITS[unit] > MAX_LOG_BYTES:
        raise click.BadParameter(f"{text} is more than 1MiB")
    return LogPart(count * _UNITS[unit])


def last_lines(data: bytes, part: LogPart) -> bytes:
    """The part of a log that was asked for, of what came of it."""
    if not part.lines:
        return data
    return b"".join(data.splitlines(keepends=True)[-part.lines :])


def as_text(data: bytes) -> str:
    """A log for a terminal: nothing in it steers, and it ends with its last line."""
    text = _STEERING.sub("", data.decode("utf-8", "replace")).expandtabs()
    return printable(text).rstrip("\n")


def escape_byte(text: str) -> bytes:
    """^] or another control character as ^A, any one character, or none. Raises
    click.BadParameter."""
    if text == "none":
        return b""
    if re.fullmatch(r"\^[@-_a-z]", text):
        return bytes((ord(text[1].upper()) & 0x1F,))
    if len(text) == 1 and text.isascii() and text.isprintable():
        return text.encode()
    raise click.BadParameter(
        f"{text[:20]!r} is no key; write ^] for Ctrl-], one character, or none"
    )


def key_name(escape: bytes) -> str:
    """Ctrl-] for people."""
    return f"Ctrl-{chr(escape[0] | 0x40)}" if escape < b" " else escape.decode()


def before_escape(typed: bytes, escape: bytes) -> tuple[bytes, bool]:
    """What was typed before the escape, and whether it was typed."""
    if not escape or escape not in typed:
        return typed, False
    return typed[: typed.index(escape)], True


@dataclass(slots=True)
class Quiet:
    """When a script's session has heard the answer to the last it sent. Seconds, any clock."""

    sent: float | None = None  # the last input
    heard: float | None = None  # the last output
    ended: float | None = None  # input has ended

    # After the last output; for a first answer; and in all after the end of the input.
    QUIET: ClassVar[float] = 1.0
    FIRST: ClassVar[float] = 5.0
    LONGEST: ClassVar[float] = 30.0

    def until(self) -> float | None:
        """When to leave unless more is heard; None while there may be more input."""
        if self.ended is None:
            return None
        if self.heard is not None and (self.sent is None or self.heard >= self.sent):
            quiet = max(self.heard, self.ended) + self.QUIET
        else:
            quiet = self.ended + (self.QUIET if self.sent is None else self.FIRST)
        return min(quiet, self.ended + self.LONGEST)
