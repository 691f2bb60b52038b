"""Says at a terminal that an answer is still being waited for, once that has taken a while."""

from __future__ import annotations

import sys
import threading
import time

# Seconds after which people take a program for one that hangs.
WAITING_NOTE_SECONDS = 2.0
_EVERY = 1.0


class WaitingNote:
    """From its making to `close`: a line on stderr, counted up each second and then wiped away.

    Nothing is written when it is closed sooner, nor unless `shown`: where stderr is no terminal.
    """

    def __init__(self, what: str, seconds: float, shown: bool) -> None:
        self._what = what
        self._seconds = seconds
        self._begun = time.monotonic()
        self._closed = threading.Event()
        self._width = 0
        self._writer: threading.Thread | None = None
        if shown:
            self._writer = threading.Thread(target=self._write, daemon=True, name="waiting note")
            self._writer.start()

    def __enter__(self) -> WaitingNote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wipes the line away. May be called again."""
        self._closed.set()
        if self._writer is None:
            return
        self._writer.join()
        if self._width:
            _write_now(f"\r{' ' * self._width}\r")
        self._writer, self._width = None, 0

    def _write(self) -> None:
        wait = self._seconds
        while not self._closed.wait(wait):
            text = f"{self._what} ... {time.monotonic() - self._begun:.0f} s"
            self._width, wait = max(self._width, len(text)), _EVERY
            _write_now(f"\r{text}")


def waiting_for_a_controller(answer_delay: float) -> WaitingNote:
    """Of a call whose answer may be kept back for so many seconds."""
    seconds = answer_delay + WAITING_NOTE_SECONDS
    return WaitingNote("waiting for a controller to answer", seconds, sys.stderr.isatty())


def _write_now(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
