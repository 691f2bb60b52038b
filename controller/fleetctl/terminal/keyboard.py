"""Keys that are pressed while something is drawn, one by one and unseen."""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fleetctl.terminal.raw_terminal import ending_signals_end_the_block

UP, DOWN, PAGE_UP, PAGE_DOWN = "up", "down", "page up", "page down"
HOME, END, ENTER, BACKSPACE, ESCAPE = "home", "end", "enter", "backspace", "escape"

_NAMES: Mapping[str, str] = {
    "\x1b[A": UP, "\x1bOA": UP, "\x1b[B": DOWN, "\x1bOB": DOWN,
    "\x1b[5~": PAGE_UP, "\x1b[6~": PAGE_DOWN,
    "\x1b[H": HOME, "\x1bOH": HOME, "\x1b[1~": HOME, "\x1b[F": END, "\x1bOF": END, "\x1b[4~": END,
    "\r": ENTER, "\n": ENTER, "\x7f": BACKSPACE, "\x08": BACKSPACE, "\x1b": ESCAPE,
}  # fmt: skip
# A sequence of a key that has one, known here or not; else one character.
_KEY = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1bO.|.", re.DOTALL)
_READ_BYTES = 1024


def keys_of(data: bytes) -> list[str]:
    """Names of keys, and characters as they are; what is neither is left out."""
    found = (_NAMES.get(one, one) for one in _KEY.findall(data.decode(errors="ignore")))
    return [one for one in found if one in _NAMES.values() or one.isprintable()]


@contextmanager
def keyboard() -> Iterator[int]:
    """Its descriptor; what is typed is not echoed, and needs no enter. Ctrl-C interrupts."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        with ending_signals_end_the_block():
            tty.setcbreak(terminal, termios.TCSADRAIN)
            yield terminal
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def pressed(terminal: int, wake: int) -> list[str] | None:
    """What was typed, awaited; None once `wake` can be read, or the terminal is gone."""
    ready, _, _ = select.select([terminal, wake], [], [])
    if wake in ready:
        return None
    data = os.read(terminal, _READ_BYTES)
    return keys_of(data) if data else None
