"""Memory of the process goes back to the machine after a flood.

glibc keeps what was freed: in an arena for each of many threads, and below whatever was allocated
last. Two arenas are enough for programs whose work is done on one loop, and trimming now and then
hands back what lies free in between.

Python looks for cycles among young objects once many more were made than freed. Where each new
object takes the place of an old one, that is never, and the young are all there are: one look at
them stops the loop for a tenth of a second. Looking often keeps each look short.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable
from itertools import count

TRIM_SECONDS = 60.0
YOUNG_SECONDS = 0.1
# What is still there after so many looks is old: more than a request takes, so that requests leave
# nothing among the old, which are looked at seldom. The last of these looks sees what came with all
# of them: more would make it the longest halt of the loop.
_LOOKS_WHILE_YOUNG = 4
_ARENAS = 2
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h of glibc
# Above this an allocation is a mapping of its own, which goes back when it is freed. Left alone,
# glibc raises the threshold to 32 MiB with what it sees freed.
_OWN_MAPPING_BYTES = 128 * 1024


def bound_arenas() -> None:
    """For the start of a program, before it has threads. Does nothing without glibc."""
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _OWN_MAPPING_BYTES)


async def give_back_now_and_then(seconds: float = TRIM_SECONDS) -> None:
    """Trims for as long as it is run, in a thread: it takes tenths of a second for gigabytes."""
    trim = _of_glibc("malloc_trim")
    while trim is not None:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(trim, ctypes.c_size_t(0))


async def collect_young(seconds: float = YOUNG_SECONDS) -> None:
    """Frees cycles of young objects for as long as it is run, on the loop: milliseconds a look."""
    for look in count(1):
        await asyncio.sleep(seconds)
        gc.collect(0 if look % _LOOKS_WHILE_YOUNG else 1)


def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where it has none of this name (musl)."""
    return getattr(ctypes.CDLL(None), name, None)
