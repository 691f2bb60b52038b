"""Whether files are others than before: what the file system says of them, without reading them."""

from __future__ import annotations

from pathlib import Path

Stamp = tuple[tuple[int, int, int] | None, ...]


def stamp_of(*files: Path) -> Stamp:
    """When each was written, its size, and which file it is; None for one that is not there."""
    return tuple(map(_of, files))


def _of(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
