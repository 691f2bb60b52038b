"""What is under way, in one line: written over on a terminal, else a line every two seconds."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fleetctl.outcome import printable
from fleetctl.output import note

LINE_SECONDS = 2.0


class ProgressLine:
    """Lines go to stderr, where they are not in the way of a result."""

    def __init__(
        self,
        *,
        terminal: bool,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], None] = note,
    ) -> None:
        self._terminal = terminal
        self._clock = clock
        self._write = write
        self._next = clock() + LINE_SECONDS

    def see(self, text: str) -> None:
        if self._terminal:
            columns = shutil.get_terminal_size().columns - 1
            _put(printable(text)[:columns].ljust(columns))
        elif self._clock() >= self._next:
            self._next = self._clock() + LINE_SECONDS
            self._write(printable(text))

    def end(self) -> None:
        if self._terminal:
            _put(" " * (shutil.get_terminal_size().columns - 1))
            _put("")


@contextmanager
def progress_line(*, json: bool) -> Iterator[ProgressLine]:
    """`json`: the result is JSON, so that nothing may be beside it."""
    line = ProgressLine(terminal=sys.stdout.isatty() and not json)
    try:
        yield line
    finally:
        line.end()


def _put(text: str) -> None:
    sys.stdout.write(f"\r{text}")
    sys.stdout.flush()
