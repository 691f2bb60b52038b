"""Decisions about consoles' logs: what a reader reads next, how often it looks, what is freed.

The log is the queue between a guest and its readers: a reader is no more than a place in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

KIB = 1024

# A reader this far behind the end goes on from nearer to it, and gets a notice.
LAG_BYTES = 256 * KIB
RESUME_BYTES = 32 * KIB

# Seconds between two looks at a log: after output or input, and when nothing happens.
FAST_PACE = 0.02
SLOW_PACE = 0.25
SLOWING = 1.3

# What holes can be made of: a file system's block, or ext4's and ZFS's smallest record at least.
BLOCK_BYTES = 4 * KIB

INACTIVE = -1  # the id of a domain that does not run, as libvirt has it


class LogFile(NamedTuple):
    """A log as it is: the file, and its size in bytes."""

    inode: int
    size: int


class LogPosition(NamedTuple):
    """Where a reader is: it has read `offset` bytes of the file `inode` (0: of none yet)."""

    inode: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """Read up to `length` bytes at `place`. `skipped`: bytes passed over; -1: nobody knows."""

    place: LogPosition
    length: int
    skipped: int = 0


def next_move(place: LogPosition, seen: LogFile, room: int) -> Move:
    """What a reader at `place` with `room` bytes free reads of the log as it is now."""
    if seen.inode != place.inode:
        start, skipped = 0, 0
    elif seen.size < place.offset:  # cut behind our back
        start, skipped = 0, -1
    else:
        start, skipped = place.offset, 0
    if seen.size - start > LAG_BYTES:
        resume = seen.size - RESUME_BYTES
        start, skipped = resume, -1 if skipped else resume - start
    return Move(LogPosition(seen.inode, start), max(0, min(room, seen.size - start)), skipped)


def skipped_notice(skipped: int) -> str:
    """In words for the reader; empty when nothing was passed over."""
    if skipped < 0:
        return "the log was cut; some output may be missing here"
    return f"{skipped:,} bytes of output were skipped here" if skipped else ""


def life_notice(name: str, before: int, after: int) -> str:
    """What became of a domain, by its ids; empty when it is the same life."""
    if before == after:
        return ""
    if after == INACTIVE:
        return f"{name} has ended; what it prints when it runs again will follow"
    return f"{name} was started" if before == INACTIVE else f"{name} was started anew"


def next_pace(pace: float, active: bool) -> float:
    """Seconds until the next look."""
    return FAST_PACE if active else min(pace * SLOWING, SLOW_PACE)


def from_line_start(data: bytes) -> bytes:
    """Without a first line that is cut, unless there is no other."""
    return data[data.find(b"\n") + 1 :] or data


def old_bytes(size: int, allocated: int, limit: int) -> int:
    """Bytes at the start of a log to be freed, so that no more than half of `limit` is left of
    what takes more than `limit` bytes on the disk; whole blocks, 0 for none."""
    if allocated <= limit:
        return 0
    return max(0, size - limit // 2) // BLOCK_BYTES * BLOCK_BYTES
