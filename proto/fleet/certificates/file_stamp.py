"""Whether files are others than before: what the file system says of them, without reading them."""

from __future__ import annotations

import os
from pathlib import Path

Stamp = tuple[tuple[int, int, int] | None, ...]


def stamp_of(*files: Path | str) -> Stamp:
    """When each was written, its size, and which file it is; None for one that is not there."""
    return tuple(map(_of, files))


def _of(file: Path | str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
