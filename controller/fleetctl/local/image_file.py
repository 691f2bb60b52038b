"""Files of this machine that become an image: what they are made of, and their chunks."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from fleet.image_content.manifest import (
    CHUNK,
    DISK,
    HOLE,
    MAX_FILE_BYTES,
    PARTS,
    Manifest,
    Part,
    chunk_digest,
)
from fleet.image_content.packing import Packed, packed
from fleetctl.outcome import Failed

# The manifest of a larger one does not fit in the message that hands it in.
MOST_BYTES = 32 << 30


class ImageFiles:
    """Open files, by the part that each becomes. To be used as a context."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        """Raises Failed."""
        self._stack = ExitStack()
        self._files: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        try:
            for part in PARTS:
                if part in paths:
                    self._open(part, paths[part])
        except Failed:
            self._stack.close()
            raise

    def _open(self, part: str, path: Path) -> None:
        try:
            file = self._stack.enter_context(path.open("rb", buffering=0))
            size = os.lseek(file.fileno(), 0, os.SEEK_END)
        except OSError as error:
            raise Failed(f"cannot read {path}: {error.strerror}") from error
        most = MOST_BYTES if part == DISK else MAX_FILE_BYTES
        if not 0 < size <= most:
            raise Failed(
                f"{path} has {size:,} bytes; a {part} that is pushed has 1 to {most:,}: make a "
                "larger one on a host, with 'fleetctl images import'"
            )
        self._files[part], self.sizes[part] = file.fileno(), size

    def __enter__(self) -> ImageFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def manifest(self, on_progress: Callable[[int, int], None]) -> Manifest:
        """Reads all of them; `on_progress` hears how many bytes are read, of how many. Raises
        Failed."""
        total, done = sum(self.sizes.values()), 0
        parts = []
        for name, size in self.sizes.items():
            found = bytearray()
            for offset in range(0, size, CHUNK):
                on_progress(done + offset, total)
                found += self._digest(name, offset, min(CHUNK, size - offset))
            done += size
            parts.append(Part(name, size, bytes(found)))
        return Manifest(tuple(parts))

    def _digest(self, name: str, offset: int, size: int) -> bytes:
        try:
            if os.lseek(self._files[name], offset, os.SEEK_DATA) >= offset + size:
                return HOLE
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return HOLE
        return chunk_digest(self._read(name, offset, size))

    def chunk(self, manifest: Manifest, number: int) -> Packed:
        """Raises Failed."""
        place = manifest.place(number)
        return packed(self._read(place.part.name, place.offset, place.size))

    def _read(self, name: str, offset: int, size: int) -> bytes:
        try:
            data = os.pread(self._files[name], size, offset)
        except OSError as error:
            raise Failed(f"cannot read the {name}: {error.strerror}") from error
        if len(data) != size:
            raise Failed(f"the file of the {name} became shorter while it was read")
        return data
