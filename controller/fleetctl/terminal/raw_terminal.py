"""The terminal while a console has it: raw, and given back as it was, whatever happens."""

from __future__ import annotations

import os
import signal
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

# What ends the process, and must not leave the terminal raw.
_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def raw_terminal(terminal: int) -> Iterator[int]:
    """The descriptor's terminal in raw mode; gives a descriptor that can be read whenever a
    signal has come, such as for a new size of the window. A signal that ends the process ends
    the block first."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    before = termios.tcgetattr(terminal)
    handlers: dict[signal.Signals, Any] = {}
    # A handler could interrupt just what it has to call: it leaves a byte in the pipe, no more.
    handlers[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda *_: None)
    wakeup = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    try:
        # Drained, not flushed: what was typed ahead is for the guest.
        with ending_signals_end_the_block():
            tty.setraw(terminal, termios.TCSADRAIN)
            yield readable
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        signal.set_wakeup_fd(wakeup)
        os.close(readable)
        os.close(writable)
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def ending_signals_end_the_block() -> Iterator[None]:
    """So that what the block has done to the terminal is undone before the process ends."""
    before = {number: signal.signal(number, _end) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def window(terminal: int) -> tuple[int, int]:
    """Rows and columns; zeros where they are not known."""
    try:
        size = os.get_terminal_size(terminal)
    except OSError:
        return 0, 0
    return size.lines, size.columns


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    # As shells tell it of a process that a signal has ended.
    raise SystemExit(128 + number)
