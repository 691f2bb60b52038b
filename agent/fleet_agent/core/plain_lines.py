"""What a guest printed, as a person would read it: lines without escape sequences."""

from __future__ import annotations

import re

# ECMA-48: control strings (of which OSC sets titles and links) end with BEL or ST; here also where
# anything begins that cannot be within. Each alternative reads on past what it took, so that the
# whole is linear in the text, whatever a guest prints.
_ESCAPES = re.compile(
    r"\x1b[\]PX^_][^\x07\x1b\r\n]*(?:\x07|\x1b\\|\Z)?"  # OSC, DCS, SOS, PM, APC
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*(?:[@-~]|\Z)?"  # CSI: colours, movement of the cursor
    r"|\x1b[ -/]*(?:[0-~]|\Z)?"  # two characters, or three as of a character set
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# A run of carriage returns is taken as a whole: looking for the end of a line after each of them
# takes the square of their number.
_RETURNS = re.compile(r"\r+\n?")


def plain_lines(text: str) -> list[str]:
    """The lines of it. A carriage return begins a line as well: what a guest writes over what it
    wrote is another line. The last one is what follows the last end of a line, empty or not."""
    plain = _CONTROLS.sub("", _ESCAPES.sub("", text))
    return _RETURNS.sub(_line_ends, plain).split("\n")


def _line_ends(returns: re.Match[str]) -> str:
    return "\n" if returns[0].endswith("\n") else "\n" * len(returns[0])
