"""What an image that is about to be fetched has in common with others of its name on this host.

A chunk is taken over for its digest alone, wherever in the other disk it lies: what that is, and
whether it changes meanwhile, need not be known. Blocking.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from fleet.image_content.manifest import CHUNK, HOLE, Manifest, chunk_digest
from fleet_agent.core.images import ImageName
from fleet_agent.drivers.images.staged_content import OpenFile, OpenParts, is_hole
from fleet_agent.drivers.ports.images import Image

# Each is read whole.
MOST_VERSIONS = 2
# Chunks looked at in one go: so long does whoever gives up wait.
AT_ONCE = 64


def versions_of(image: ImageName, held: Iterable[Image]) -> list[ImageName]:
    """The newest first."""
    alike = (one for one in held if one.image.name == image.name and one.image != image)
    newest = sorted(alike, key=lambda one: one.created, reverse=True)
    return [one.image for one in newest[:MOST_VERSIONS]]


class EarlierVersion:
    """A disk that is read from, open until nobody has it."""

    def __init__(self, file: OpenFile) -> None:
        """Raises OSError."""
        self._file = file
        self._size = os.lseek(file.number, 0, os.SEEK_END)

    def stretches(self) -> Iterator[range]:
        """Offsets of its chunks, as many as are looked at in one go."""
        step = CHUNK * AT_ONCE
        for begin in range(0, self._size, step):
            yield range(begin, min(begin + step, self._size), CHUNK)

    def give(self, offsets: range, lacking: dict[bytes, list[int]], parts: OpenParts) -> set[int]:
        """Write what is here of that which is lacking, and take it out of there; the numbers of
        those chunks. Raises OSError if this cannot be read, PoolFull, DriverError."""
        given: set[int] = set()
        for offset in offsets:
            count = min(CHUNK, self._size - offset)
            if is_hole(self._file.number, offset, count):
                continue
            data = os.pread(self._file.number, count, offset)
            for number in lacking.pop(chunk_digest(data), ()):
                parts.put(number, data)
                given.add(number)
        return given


def by_digest(manifest: Manifest, numbers: Iterable[int]) -> dict[bytes, list[int]]:
    """Numbers of filled chunks by what they hold."""
    found: dict[bytes, list[int]] = {}
    for number in numbers:
        if (digest := manifest.digest(number)) != HOLE:
            found.setdefault(digest, []).append(number)
    return found
