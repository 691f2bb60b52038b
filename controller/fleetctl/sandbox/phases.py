"""Says what a sandbox is doing: one line for each phase, with its seconds, on stderr.

At a terminal the line of the phase under way is rewritten in place.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO


class Phases:
    """The phases of one command, in turn."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._started = time.monotonic()

    def note(self, text: str) -> None:
        """A line of its own."""
        self._write(f"{text}\n")

    @contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """Shows `name` while the body runs, and its outcome with the seconds it took after it."""
        phase = Phase(self, name)
        phase.show(name)
        try:
            yield phase
        except BaseException:
            if self._live:
                self._write("\n")
            raise
        taken = time.monotonic() - phase.started
        self.note(f"{_clear(self._live)}  {phase.outcome:<58} {taken:6.1f} s")

    def rewrite(self, text: str) -> None:
        if self._live:
            self._write(f"{_clear(True)}  {text}")

    def total(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._started

    def _write(self, text: str) -> None:
        # Whoever read is gone: what is under way, such as a sandbox being stopped, is not.
        with suppress(BrokenPipeError):
            self._stream.write(text)
            self._stream.flush()


class Phase:
    """One phase under way; `outcome` is what is said of it in the end."""

    def __init__(self, phases: Phases, name: str) -> None:
        self._phases = phases
        self.outcome = name
        self.started = time.monotonic()

    def show(self, text: str) -> None:
        """What it is doing at this moment; seen at a terminal only."""
        self._phases.rewrite(f"{text} ...")


def _clear(live: bool) -> str:
    return "\r\x1b[K" if live else ""
