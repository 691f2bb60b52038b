"""Manifests of images and their chunks: what they say, and what is refused of them."""

from __future__ import annotations

import os

import pytest

from fleet.image_content.manifest import (
    CHUNK,
    HOLE,
    MAX_BYTES,
    BadManifest,
    Manifest,
    Part,
    bits_of,
    chunk_digest,
    manifest_of,
    numbers_in,
)
from fleet.image_content.packing import BadPacking, packed, unpacked
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types

GOLDEN = types.Image(name="golden", snapshot="2")


def digests(*contents: bytes) -> bytes:
    return b"".join(map(chunk_digest, contents))


def sample() -> Manifest:
    disk = Part("disk", 2 * CHUNK + 10, digests(b"a" * CHUNK, bytes(CHUNK), b"c" * 10))
    return Manifest((disk, Part("kernel", 5, digests(b"kkkkk"))))


def test_chunks_are_numbered_through_all_parts_and_zeros_are_none() -> None:
    manifest = sample()
    assert manifest.count == 4
    assert list(manifest.filled()) == [0, 2, 3]
    assert manifest.sent == CHUNK + 10 + 5
    place = manifest.place(3)
    assert (place.part.name, place.offset, place.size) == ("kernel", 0, 5)
    assert manifest.digest(1) == HOLE and manifest.digest(3) == chunk_digest(b"kkkkk")
    with pytest.raises(IndexError):
        manifest.place(4)


def test_a_manifest_travels_whole_and_its_root_is_of_all_of_it() -> None:
    manifest = sample()
    assert manifest_of(manifest.message(GOLDEN), manifest.root) == manifest
    other = Manifest((manifest.parts[0],))
    assert other.root != manifest.root
    with pytest.raises(BadManifest, match="another content"):
        manifest_of(other.message(GOLDEN), manifest.root)


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [wire.ImagePart(name="kernel", size_bytes=1, chunks=HOLE)],
        [wire.ImagePart(name="disk", size_bytes=0)],
        [wire.ImagePart(name="disk", size_bytes=MAX_BYTES + 1)],
        [wire.ImagePart(name="disk", size_bytes=1, chunks=HOLE + b"x")],
        [wire.ImagePart(name="disk", size_bytes=CHUNK + 1, chunks=HOLE)],
        [wire.ImagePart(name="disk", size_bytes=1, chunks=HOLE)] * 2,
        [wire.ImagePart(name="disk", size_bytes=1, chunks=HOLE), wire.ImagePart(name="../x")],
    ],
)
def test_what_is_no_manifest_is_refused(parts: list[wire.ImagePart]) -> None:
    with pytest.raises(BadManifest):
        manifest_of(wire.ImageManifest(parts=parts))


def test_bits_name_chunks_and_none_beyond_the_last() -> None:
    assert list(numbers_in(bits_of([0, 7, 8, 12], 13), 13)) == [0, 7, 8, 12]
    assert list(numbers_in(b"\xff\xff\xff", 9)) == list(range(9))


@pytest.mark.parametrize("data", [b"text " * 1000, os.urandom(5000), b""])
def test_a_chunk_is_compressed_only_where_it_pays_and_comes_back(data: bytes) -> None:
    made = packed(data)
    assert made.compressed == (data.startswith(b"text"))
    assert unpacked(made.data, compressed=made.compressed) == data


def test_a_chunk_that_grows_beyond_its_size_is_not_unpacked() -> None:
    bomb = packed(bytes(64 * CHUNK))
    with pytest.raises(BadPacking):
        unpacked(bomb.data, compressed=True)
    with pytest.raises(BadPacking):
        unpacked(b"nonsense", compressed=True)
