"""What is under way, in one line: written over on a terminal, else a line every two seconds."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fleetctl.outcome import one_line
from fleetctl.output import note, on_screen

LINE_SECONDS = 2.0


class ThrottledLines:
    """Writes at most one line every LINE_SECONDS, the first one so long after the start."""

    def __init__(self, write: Callable[[str], None], started: float) -> None:
        """`started` and all times are monotonic seconds."""
        self._write = write
        self._next = started + LINE_SECONDS

    def show(self, text: str, now: float) -> None:
        if now >= self._next:
            self._next = now + LINE_SECONDS
            self._write(text)


class ProgressLine:
    """One line that is written over on a terminal; elsewhere throttled lines."""

    def __init__(
        self,
        *,
        terminal: bool,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], None] = note,
    ) -> None:
        self.terminal = terminal
        self.started = clock()
        self._clock = clock
        self._lines = ThrottledLines(write, self.started)

    def show(self, text: str) -> None:
        if self.terminal:
            columns = shutil.get_terminal_size().columns - 1
            _rewrite(one_line(text)[:columns].ljust(columns))
        else:
            self._lines.show(one_line(text), self._clock())

    def elapsed(self) -> float:
        """Seconds since the line was made."""
        return self._clock() - self.started

    def end(self) -> None:
        """Takes the line away from a terminal."""
        if self.terminal:
            _rewrite(" " * (shutil.get_terminal_size().columns - 1))
            _rewrite("")


@contextmanager
def progress_line(*, json: bool, write: Callable[[str], None] = note) -> Iterator[ProgressLine]:
    """`json`: the result is JSON, so that nothing may be beside it on stdout. `write` takes the
    lines where stdout is no terminal; stderr, where they are not in the way of a result."""
    line = ProgressLine(terminal=on_screen() and not json, write=note if json else write)
    try:
        yield line
    finally:
        line.end()


def _rewrite(text: str) -> None:
    sys.stdout.write(f"\r{text}")
    sys.stdout.flush()
