"""Follows a guest's console log until a line matches a pattern: incremental, bounded, blocking.

The log belongs to xenconsoled (or virtlogd), which appends. start() sets the old log aside, so
that a pattern from an earlier life is not taken for this one's; a life begun behind the agent's
back is read from where the one before was seen ready.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from fleet.texts.guest_patterns import GuestPattern
from fleet_agent.core.plain_lines import plain_lines
from fleet_agent.drivers.consoles.file import OLD_SUFFIXES, data_from

READ_BYTES = 256 * 1024  # read at most, each time
CARRY_BYTES = 4 * 1024  # kept of a line that had not ended when it was read
END_BYTES = 2 * 1024  # where the last lines are looked for
END_LENGTH = 240


@dataclass(slots=True)
class ConsoleTail:
    """One guest's console from `read` bytes on, if the log still is the file `inode` (0: any)."""

    path: Path
    inode: int = 0
    read: int = 0
    _carry: bytes = b""

    def shows(self, pattern: GuestPattern) -> bool:
        """Read what was appended since, and say whether the pattern is in any line of it, as a
        person reads it. A log that is not there yet shows nothing. Raises OSError when it cannot be
        read."""
        try:
            with self.path.open("rb") as log:
                fresh = self._appended(log.fileno())
        except FileNotFoundError:
            return False
        if not fresh:
            return False
        window = self._carry + fresh
        self._carry = window[_begun(window) :][-CARRY_BYTES:]
        lines = plain_lines(window.decode("utf-8", "replace"))
        return any(pattern.search(line) for line in lines)

    def _appended(self, log: int) -> bytes:
        status = os.fstat(log)
        if status.st_ino != self.inode or status.st_size < self.read:
            self.inode, self.read, self._carry = status.st_ino, 0, b""
        # The start of a long log is freed meanwhile: nothing can be found in a hole.
        self.read = data_from(log, self.read, status.st_size)
        fresh = os.pread(log, READ_BYTES, self.read)
        self.read += len(fresh)
        return fresh


def _begun(window: bytes) -> int:
    """Where the line begins that has not ended yet."""
    return max(window.rfind(b"\n"), window.rfind(b"\r")) + 1


def last_lines(path: Path) -> str:
    """The end of a console log for people: its last two lines that are not empty."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - END_BYTES))
            text = log.read(END_BYTES).decode("utf-8", "replace")
    except OSError as error:
        return f"its console log {path} cannot be read: {error.strerror}"
    lines = [line for line in map(str.strip, plain_lines(text)) if line][-2:]
    if not lines:
        return "it wrote nothing to its console"
    return f"its console ends with: {' / '.join(lines)[-END_LENGTH:]}"


def set_aside(path: Path) -> None:
    """Rename the log of the life before to .1: one is kept for the post-mortem.

    Raises OSError when the log is there and cannot be renamed.
    """
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, path.with_name(path.name + ".1"))


def discard(path: Path) -> None:
    """Remove the logs of a guest that is no more. One that cannot be removed does no harm but to
    the disk."""
    for name in (path.name, *(path.name + suffix for suffix in OLD_SUFFIXES)):
        with contextlib.suppress(OSError):
            path.with_name(name).unlink()
