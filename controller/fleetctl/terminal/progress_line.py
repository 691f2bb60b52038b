"""What is under way, in a sentence: written over on a terminal, else a line every two seconds."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fleetctl.outcome import one_line
from fleetctl.output import note, on_screen

LINE_SECONDS = 2.0


class ThrottledLines:
    """Writes at most one line every `seconds`, the first one LINE_SECONDS after the start."""

    def __init__(
        self, write: Callable[[str], None], started: float, seconds: float = LINE_SECONDS
    ) -> None:
        """`started` and all times are monotonic seconds."""
        self._write = write
        self._seconds = seconds
        self._next = started + LINE_SECONDS
        self._last = ""

    def show(self, text: str, now: float, fact: str = "") -> None:
        """`fact`: what the line is about, without its times; nothing is written before it
        changes."""
        if now >= self._next and not (fact and fact == self._last):
            self._next, self._last = now + self._seconds, fact
            self._write(text)


class ProgressLine:
    """A sentence that is written over on a terminal; elsewhere throttled lines."""

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
        self._below = 0  # lines that the last text took below its first
        self._lines = ThrottledLines(write, self.started)

    def show(self, text: str) -> None:
        if self.terminal:
            self._rewrite(one_line(text))
        else:
            self._lines.show(one_line(text), self._clock())

    def elapsed(self) -> float:
        """Seconds since the line was made."""
        return self._clock() - self.started

    def end(self) -> None:
        """Takes the line away from a terminal."""
        if self.terminal:
            self._rewrite("")

    def _rewrite(self, text: str) -> None:
        """Over what was written before; what is longer than a line goes on below, whole."""
        columns = max(1, shutil.get_terminal_size().columns - 1)
        lines = textwrap.wrap(text, columns, subsequent_indent="  " if columns > 2 else "")
        up = f"\x1b[{self._below}A" if self._below else ""
        sys.stdout.write(f"\r{up}\x1b[J" + "\n".join(lines))
        sys.stdout.flush()
        self._below = max(0, len(lines) - 1)


@contextmanager
def progress_line(*, json: bool, write: Callable[[str], None] = note) -> Iterator[ProgressLine]:
    """`json`: the result is JSON, so that nothing may be beside it on stdout. `write` takes the
    lines where stdout is no terminal; stderr, where they are not in the way of a result."""
    line = ProgressLine(terminal=on_screen() and not json, write=note if json else write)
    try:
        yield line
    finally:
        line.end()
