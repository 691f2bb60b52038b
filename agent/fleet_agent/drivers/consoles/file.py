"""Reads and bounds the logs that xenconsoled or virtlogd writes of guests' consoles. Blocking.

They append and never look back, and xenconsoled never rotates: the start of a log that has grown
too long is freed as a hole, so that every offset in it stays what it was.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleet_agent.core.console_log import (
    LogFile,
    LogPosition,
    from_line_start,
    next_move,
    old_bytes,
    skipped_notice,
)

# Where a log goes when the next life begins: our own name for it, and virtlogd's.
OLD_SUFFIXES = (".1", ".0")

# linux/falloc.h
_KEEP_SIZE = 1
_PUNCH_HOLE = 2
_NO_HOLES = (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV)
_libc = ctypes.CDLL(None, use_errno=True)

# st_blocks counts these, whatever the file system's own block is: stat(2).
_STAT_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Glance:
    """What one look at a log gave: where its reader is now, and what is for it. `replaced`: a
    new log has begun, of which nothing is read yet."""

    place: LogPosition
    data: bytes = b""
    notice: str = ""
    replaced: bool = False


def glance(path: Path, place: LogPosition, room: int) -> Glance:
    """At most `room` bytes of what is new. A log that is not there has nothing new. Before a new
    log is begun, the rest of the old one is read where it was put. Raises OSError."""
    seen = _look(path)
    if place.inode and (seen is None or seen.inode != place.inode):
        rest = _rest_of_old(path, place, room)
        if rest is not None:
            return rest
        return Glance(place) if seen is None else Glance(LogPosition(seen.inode), replaced=True)
    if seen is None or seen.size == place.offset:
        return Glance(place)
    try:
        return _read(path, place, room)
    except FileNotFoundError:
        return Glance(place)


def end_of(path: Path, count: int) -> tuple[LogPosition, bytes]:
    """The last `count` bytes of a log from the start of a line, and the place after them. A log
    that is not there yet is empty. Raises OSError."""
    try:
        with _opened(path) as log:
            status = os.fstat(log)
            start = max(0, status.st_size - count)
            first = data_from(log, start, status.st_size)
            data = os.pread(log, status.st_size - first, first)
    except FileNotFoundError:
        return LogPosition(), b""
    if first != start:
        data = data.lstrip(b"\0")
    return LogPosition(status.st_ino, first + len(data)), from_line_start(data) if first else data


def data_from(log: int, offset: int, size: int) -> int:
    """The offset itself, or where data begins again after a hole; `size` when it does not."""
    if offset >= size:
        return offset
    try:
        return os.lseek(log, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size


def bound(path: Path, limit: int) -> int:
    """Free the start of a log that takes more than `limit` bytes of the disk; how many bytes of
    it are gone now. Where the file system has no holes, the end is copied to .1 and the log cut:
    what is written in between is lost. Raises OSError."""
    try:
        status = os.stat(path)
        freed = old_bytes(status.st_size, status.st_blocks * _STAT_BLOCK, limit)
        if not freed:
            return 0
        with _opened(path, os.O_RDWR) as log:
            try:
                _punch(log, freed)
            except OSError as error:
                if error.errno not in _NO_HOLES:
                    raise
                _cut(path, log, limit // 2)
    except FileNotFoundError:
        return 0
    return freed


def _read(path: Path, place: LogPosition, room: int) -> Glance:
    with _opened(path) as log:
        status = os.fstat(log)
        move = next_move(place, LogFile(status.st_ino, status.st_size), room)
        at = move.place.offset
        first = data_from(log, at, status.st_size)
        data = os.pread(log, max(0, min(move.length, status.st_size - first)), first)
    skipped = move.skipped if move.skipped < 0 else move.skipped + first - at
    after = LogPosition(status.st_ino, first + len(data))
    # The edge of a hole is a block's, and a file system's own block may be larger than ours.
    return Glance(after, data.lstrip(b"\0") if first != at else data, skipped_notice(skipped))


def _rest_of_old(path: Path, place: LogPosition, room: int) -> Glance | None:
    """What is left to be read of the log that was set aside; None when nothing is."""
    for suffix in OLD_SUFFIXES:
        old = path.with_name(path.name + suffix)
        seen = _look(old)
        if seen is not None and seen.inode == place.inode and seen.size > place.offset:
            with contextlib.suppress(FileNotFoundError):
                found = _read(old, place, room)
                return found if found.place.inode == place.inode else None
    return None


def _look(path: Path) -> LogFile | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return LogFile(status.st_ino, status.st_size)


@contextlib.contextmanager
def _opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    log = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield log
    finally:
        os.close(log)


def _punch(log: int, length: int) -> None:
    mode, start = _PUNCH_HOLE | _KEEP_SIZE, ctypes.c_longlong(0)
    if _libc.fallocate64(log, mode, start, ctypes.c_longlong(length)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _cut(path: Path, log: int, keep: int) -> None:
    size = os.fstat(log).st_size
    end = os.pread(log, keep, max(0, size - keep))
    path.with_name(path.name + ".1").write_bytes(end)
    os.ftruncate(log, 0)
