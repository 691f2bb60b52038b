"""Shows how far an import is: a bar on a terminal, else a line every two seconds."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fleet.v1 import agent_pb2 as agent
from fleetctl.outcome import printable
from fleetctl.output import byte_text, duration, note, say

LINE_SECONDS = 2.0
BAR_CELLS = 24


class Lines:
    """One line every LINE_SECONDS."""

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._started = clock()
        self._next = self._started + LINE_SECONDS

    def see(self, told: agent.ImportImageProgress) -> None:
        now = self._clock()
        if now >= self._next:
            self._next = now + LINE_SECONDS
            self._write(progress_text(told, now - self._started))


class Bar:
    """One line that is written over, and taken away at the end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()

    def see(self, told: agent.ImportImageProgress) -> None:
        columns = shutil.get_terminal_size().columns - 1
        text = f"{bar_text(told)}  {progress_text(told, self._clock() - self._started)}"
        self._put(text[:columns].ljust(columns))

    def end(self) -> None:
        self._put(" " * (shutil.get_terminal_size().columns - 1))
        self._put("")

    @staticmethod
    def _put(text: str) -> None:
        sys.stdout.write(f"\r{text}")
        sys.stdout.flush()


@contextmanager
def showing(*, on_stderr: bool) -> Iterator[Lines | Bar]:
    """What fits where the result goes; lines beside it where that is JSON."""
    if on_stderr or not sys.stdout.isatty():
        yield Lines(note if on_stderr else say)
        return
    bar = Bar()
    try:
        yield bar
    finally:
        bar.end()


def bar_text(told: agent.ImportImageProgress) -> str:
    """Empty cells while the end is not known."""
    share = min(1.0, told.done_bytes / told.total_bytes) if told.total_bytes else 0.0
    full = int(share * BAR_CELLS)
    return f"[{'#' * full}{'.' * (BAR_CELLS - full)}]"


def progress_text(told: agent.ImportImageProgress, seconds: float) -> str:
    """copying, 1.2 GiB of 4.0 GiB (30 %), 12 s."""
    parts = [printable(told.step)]
    if told.total_bytes:
        share = min(1.0, told.done_bytes / told.total_bytes)
        done, total = byte_text(told.done_bytes), byte_text(told.total_bytes)
        parts.append(f"{done} of {total} ({share:.0%})")
    parts.append(duration(seconds))
    return ", ".join(parts)
