"""Chunks as they are sent: compressed where that pays, and unpacked within their size. Blocking;
imports zstandard, which whoever hands on nothing need not have loaded."""

from __future__ import annotations

from typing import NamedTuple

import zstandard

from fleet.image_content.manifest import CHUNK

# The fastest level that still finds text and code: some 300 MB/s on one core.
_LEVEL = 1
# Worth the other end's time from here on.
_PAYS = 0.9


class Packed(NamedTuple):
    data: bytes
    compressed: bool


class BadPacking(ValueError):
    """It cannot be unpacked, or holds more than a chunk may."""


def packed(data: bytes) -> Packed:
    made = zstandard.ZstdCompressor(level=_LEVEL).compress(data)
    return Packed(made, True) if len(made) < len(data) * _PAYS else Packed(data, False)


def unpacked(data: bytes, *, compressed: bool) -> bytes:
    """Raises BadPacking."""
    if not compressed:
        found = data
    else:
        try:
            with zstandard.ZstdDecompressor(max_window_size=8 << 20).stream_reader(data) as reader:
                found = reader.read(CHUNK + 1)
        except zstandard.ZstdError as error:
            raise BadPacking(f"a chunk cannot be unpacked: {error}") from error
    if len(found) > CHUNK:
        raise BadPacking(f"a chunk has more than {CHUNK:,} bytes")
    return found
