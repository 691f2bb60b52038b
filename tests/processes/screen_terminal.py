"""A program on a terminal of its own: a pty, and what a terminal would show of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence

import pyte

PATIENCE = 60.0
_READ_BYTES = 65_536


class ScreenTerminal:
    """Used as a context. `resize` and `press` are what people do."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        columns: int = 80,
        lines: int = 24,
    ) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.seen = b""
        self._master, slave = os.openpty()
        self._set_size(columns, lines)
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command,
            env={**_without_a_size(environment), "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def __enter__(self) -> ScreenTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    @property
    def text(self) -> str:
        """All lines, without the blanks at their ends."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)
        self._set_size(columns, lines)
        os.killpg(self.process.pid, signal.SIGWINCH)

    def until(self, holds: Callable[[str], bool], what: str, patience: float = PATIENCE) -> float:
        """Reads until the screen is so; seconds since the program began. Raises AssertionError."""
        deadline = time.monotonic() + patience
        while not holds(self.text):
            rest = deadline - time.monotonic()
            if rest <= 0 or not self._read(rest):
                raise AssertionError(f"never {what}:\n{self.text}")
        return time.monotonic() - self.started

    def until_shown(self, *texts: str, patience: float = PATIENCE) -> float:
        """As `until`, for all of these."""
        return self.until(lambda text: all(one in text for one in texts), f"{texts}", patience)

    def ended(self, patience: float = PATIENCE) -> int:
        """The exit code, once it has left."""
        deadline = time.monotonic() + patience
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(0.1)
        return self.process.wait(timeout=1)

    def _read(self, seconds: float) -> bool:
        """Whether anything more can come."""
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            return True
        data = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            data = os.read(self._master, _READ_BYTES)
        self.seen += data
        self._stream.feed(data)
        return bool(data)

    def _set_size(self, columns: int, lines: int) -> None:
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)


def _without_a_size(environment: Mapping[str, str]) -> dict[str, str]:
    """Tests that run beside one another are told a size, which would hold over the terminal's."""
    return {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}
