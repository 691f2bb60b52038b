"""Files that nobody but their owner may read: private keys."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_private(file: Path) -> bytes:
    """What is in it. Raises OSError: naming the file, and PermissionError with one sentence where
    others than its owner may read or write it."""
    with open(file, "rb") as opened:
        mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
        if mode & _OTHERS:
            raise PermissionError(
                f"{file} may be read or written by others (mode {mode:04o}), and what is in it is "
                f"secret: chmod 600 {shlex.quote(str(file))}"
            )
        return opened.read()
