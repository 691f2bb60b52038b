"""Contents of images that are fetched, in a folder of this host: a file for each part, with holes
where nothing is yet, beside the manifest.

What is in the files counts only if it has its digest: they are read when they are taken up again,
so nothing need be written down or flushed for each chunk. Blocking.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError

from fleet.image_content.manifest import (
    CHUNK,
    HOLE,
    BadManifest,
    Manifest,
    Place,
    chunk_digest,
    manifest_of,
)
from fleet.image_content.packing import BadPacking, Packed, packed, unpacked
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.drivers.ports.errors import NO_ROOM, DriverError
from fleet_agent.drivers.ports.image_content import WrongChunk
from fleet_agent.drivers.ports.images import PoolFull

_MANIFEST = ".manifest"
# Left free on the disk: the host's own, and what VMs write meanwhile.
_RESERVE = 64 << 20


class OpenFile:
    """Closed once nobody has it any more. Whoever waited for a thread may have been cancelled: then
    the thread is the last one, and no number of a file that is closed is ever read from."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


class OpenParts:
    """The parts of one content as open files: readable though their names are gone."""

    def __init__(self, manifest: Manifest, files: dict[str, OpenFile]) -> None:
        self.manifest = manifest
        self._files = files

    def read(self, number: int) -> bytes:
        """Raises DriverError."""
        place = self.manifest.place(number)
        file = self._file(place)
        try:
            data = os.pread(file.number, place.size, place.offset)
        except OSError as error:
            raise DriverError(f"cannot read a chunk of an image: {error.strerror}") from error
        return data.ljust(place.size, b"\0")

    def packed(self, number: int) -> Packed:
        """Raises DriverError."""
        return packed(self.read(number))

    def write(self, number: int, chunk: Packed) -> None:
        """Raises WrongChunk, PoolFull, DriverError."""
        self.put(number, self._checked(number, self.manifest.place(number), chunk))

    def put(self, number: int, data: bytes) -> None:
        """What has the chunk's digest, as the caller has seen. Raises PoolFull, DriverError."""
        place = self.manifest.place(number)
        file = self._file(place)
        try:
            _write_all(file.number, data, place.offset)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise PoolFull("the disk is full; what was fetched is kept") from error
            raise DriverError(f"cannot write a chunk of an image: {error.strerror}") from error

    def _checked(self, number: int, place: Place, chunk: Packed) -> bytes:
        try:
            data = unpacked(chunk.data, compressed=chunk.compressed)
        except BadPacking as error:
            raise WrongChunk(str(error)) from error
        if len(data) != place.size or chunk_digest(data) != self.manifest.digest(number):
            raise WrongChunk(f"chunk {number} of the {place.part.name} does not have its digest")
        return data

    def flush(self) -> None:
        """Raises DriverError."""
        try:
            for file in tuple(self._files.values()):
                os.fsync(file.number)
        except OSError as error:
            raise DriverError(f"cannot flush an image: {error.strerror}") from error

    def close(self) -> None:
        """Whoever reads or writes just now ends that first."""
        self._files = {}

    def _file(self, place: Place) -> OpenFile:
        """Raises DriverError."""
        file = self._files.get(place.part.name)
        if file is None:
            raise DriverError("the image is not open any more")
        return file


class StagingFolder:
    """The folder. Only what this module made is ever removed from it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begun(self, manifest: Manifest) -> OpenParts:
        """Raises PoolFull, DriverError."""
        with self._errors():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._check_room(manifest)
            written = self._folder / f"{manifest.root.hex()}{_MANIFEST}"
            if not written.exists():
                part = written.with_suffix(".new")
                part.write_bytes(manifest.message(types.Image()).SerializeToString())
                part.replace(written)
            return OpenParts(manifest, self._opened(manifest))

    def begun_before(self, root: bytes) -> OpenParts | None:
        """Raises PoolFull, DriverError."""
        path = self._folder / f"{root.hex()}{_MANIFEST}"
        try:
            manifest = manifest_of(wire.ImageManifest.FromString(path.read_bytes()), root)
        except (OSError, DecodeError, BadManifest):
            return None
        return self.begun(manifest)

    def path(self, manifest: Manifest, part: str) -> Path:
        return self._folder / f"{manifest.root.hex()}.{part}"

    def forget(self, manifest: Manifest) -> None:
        """Whatever is left of it. Raises DriverError."""
        with self._errors():
            for part in manifest.parts:
                self.path(manifest, part.name).unlink(missing_ok=True)
            (self._folder / f"{manifest.root.hex()}{_MANIFEST}").unlink(missing_ok=True)

    def discard(self, keeping: set[bytes], older_than: float) -> None:
        """Raises DriverError."""
        names = {root.hex() for root in keeping}
        with self._errors():
            if not self._folder.exists():
                return
            for path in self._folder.iterdir():
                root, _, kind = path.name.partition(".")
                ours = len(root) == 64 and kind in ("manifest", "new", "disk", "kernel", "initrd")
                with contextlib.suppress(FileNotFoundError):
                    if ours and root not in names and _age(path) > older_than:
                        path.unlink()

    def _opened(self, manifest: Manifest) -> dict[str, OpenFile]:
        files: dict[str, OpenFile] = {}
        for part in manifest.parts:
            path = self.path(manifest, part.name)
            file = OpenFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            os.ftruncate(file.number, part.size)
            files[part.name] = file
        return files

    def _check_room(self, manifest: Manifest) -> None:
        space = os.statvfs(self._folder)
        free = space.f_bavail * space.f_frsize
        there = 0
        for part in manifest.parts:
            with contextlib.suppress(FileNotFoundError):
                there += self.path(manifest, part.name).stat().st_blocks * 512
        needed = max(0, manifest.sent - there)
        if needed + _RESERVE > free:
            raise PoolFull(
                f"the image takes {needed:,} more bytes, and {self._folder} has {free:,} free"
            )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in NO_ROOM:
                raise PoolFull(f"{self._folder} is full") from error
            where = error.filename or self._folder
            raise DriverError(f"cannot fetch images: {where}: {error.strerror}") from error


def whole_chunks(parts: OpenParts) -> set[int]:
    """Numbers of the filled chunks that are there and have their digests. Raises DriverError."""
    manifest = parts.manifest
    return {
        one for one in manifest.filled() if chunk_digest(parts.read(one)) == manifest.digest(one)
    }


def chunks_of(file: int, size: int) -> bytes:
    """The digests of an open file's chunks. Raises OSError."""
    found = bytearray()
    for offset in range(0, size, CHUNK):
        if is_hole(file, offset, CHUNK):
            found += HOLE
        else:
            data = os.pread(file, min(CHUNK, size - offset), offset)
            found += chunk_digest(data.ljust(min(CHUNK, size - offset), b"\0"))
    return bytes(found)


def is_hole(file: int, offset: int, count: int) -> bool:
    try:
        return os.lseek(file, offset, os.SEEK_DATA) >= offset + count
    except OSError as error:
        return error.errno == errno.ENXIO


def _write_all(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, offset)
        view, offset = view[count:], offset + count


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime
