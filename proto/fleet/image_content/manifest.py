"""The manifest of an image: its parts in chunks of one size, each known by its SHA-256.

The root, a SHA-256 over all of it, names the content. A manifest from elsewhere is checked here,
once: sizes, counts and names are bounded, and its root is the one that was asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types

CHUNK = 1 << 20
DIGEST_BYTES = 32
# Stands for a chunk of nothing but zeros, which is never sent. No SHA-256 is known to be this.
HOLE = bytes(DIGEST_BYTES)
DISK, KERNEL, INITRD = "disk", "kernel", "initrd"
PARTS = (DISK, KERNEL, INITRD)
# Its manifest is 8 MiB, half of the largest message.
MAX_BYTES = 256 << 30
MAX_FILE_BYTES = 1 << 30  # of a kernel or initrd

_ZEROS = bytes(CHUNK)


class BadManifest(ValueError):
    """It describes no image; one sentence."""


@dataclass(frozen=True, slots=True)
class Part:
    """`chunks`: digests, one after another."""

    name: str
    size: int
    chunks: bytes

    @property
    def count(self) -> int:
        return len(self.chunks) // DIGEST_BYTES


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk belongs: bytes of one part."""

    part: Part
    offset: int
    size: int


@dataclass(frozen=True)
class Manifest:
    """Parts in the order of PARTS; the disk is always there."""

    parts: tuple[Part, ...]

    @cached_property
    def root(self) -> bytes:
        found = hashlib.sha256(b"megafleet image 1\n")
        for part in self.parts:
            found.update(f"{part.name} {part.size}\n".encode())
            found.update(part.chunks)
        return found.digest()

    @cached_property
    def count(self) -> int:
        return sum(part.count for part in self.parts)

    @cached_property
    def sent(self) -> int:
        """Bytes of chunks that hold anything."""
        return sum(self.place(number).size for number in self.filled())

    def part(self, name: str) -> Part | None:
        return next((one for one in self.parts if one.name == name), None)

    def place(self, number: int) -> Place:
        """Raises IndexError."""
        for part in self.parts:
            if number < part.count:
                offset = number * CHUNK
                return Place(part, offset, min(CHUNK, part.size - offset))
            number -= part.count
        raise IndexError(number)

    def digest(self, number: int) -> bytes:
        """Raises IndexError."""
        place = self.place(number)
        at = place.offset // CHUNK * DIGEST_BYTES
        return place.part.chunks[at : at + DIGEST_BYTES]

    def filled(self) -> Iterator[int]:
        """Numbers of the chunks that hold anything."""
        number = 0
        for part in self.parts:
            for at in range(0, len(part.chunks), DIGEST_BYTES):
                if part.chunks[at : at + DIGEST_BYTES] != HOLE:
                    yield number
                number += 1

    def message(self, image: types.Image, *, chunks: bool = True) -> wire.ImageManifest:
        return wire.ImageManifest(
            image=image,
            root=self.root,
            parts=[
                wire.ImagePart(
                    name=part.name, size_bytes=part.size, chunks=part.chunks if chunks else b""
                )
                for part in self.parts
            ],
        )


def chunk_digest(data: bytes | memoryview) -> bytes:
    """Of one chunk."""
    if data == _ZEROS[: len(data)]:
        return HOLE
    return hashlib.sha256(data).digest()


def manifest_of(message: wire.ImageManifest, root: bytes = b"") -> Manifest:
    """Checked; with this root, where one is given. Raises BadManifest."""
    size_of(message)
    for part in message.parts:
        _check_chunks(part)
    made = Manifest(tuple(Part(part.name, part.size_bytes, part.chunks) for part in message.parts))
    if root and made.root != root:
        raise BadManifest("the manifest is of another content than was asked for")
    return made


def size_of(message: wire.ImageManifest) -> int:
    """Bytes of all its parts, which may be told without their chunks. Raises BadManifest."""
    names = [part.name for part in message.parts]
    if not names or names[0] != DISK or names != [one for one in PARTS if one in names]:
        raise BadManifest("an image is a disk, and may have a kernel and an initrd")
    for part in message.parts:
        most = MAX_BYTES if part.name == DISK else MAX_FILE_BYTES
        if not 0 < part.size_bytes <= most:
            raise BadManifest(
                f"the {part.name} has {part.size_bytes:,} bytes; one that travels has 1 to {most:,}"
            )
    return sum(part.size_bytes for part in message.parts)


def _check_chunks(part: wire.ImagePart) -> None:
    if len(part.chunks) != -(-part.size_bytes // CHUNK) * DIGEST_BYTES:
        raise BadManifest(f"the chunks of the {part.name} are not as many as its size takes")


def bits_of(numbers: Iterable[int], count: int) -> bytes:
    """A bit for each of `count` chunks, the lowest of the first byte for the first one."""
    bits = bytearray(-(-count // 8))
    for number in numbers:
        bits[number >> 3] |= 1 << (number & 7)
    return bytes(bits)


def numbers_in(bits: bytes, count: int) -> Iterator[int]:
    """The chunks below `count` whose bit is set."""
    for at, byte in enumerate(bits[: -(-count // 8)]):
        if byte:
            for bit in range(8):
                number = at * 8 + bit
                if byte >> bit & 1 and number < count:
                    yield number
