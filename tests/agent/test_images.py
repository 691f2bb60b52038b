"""What images may be called and made of: names that try to escape, headers that lie."""

from __future__ import annotations

import struct

import pytest

from fleet.v1 import types_pb2 as types
from fleet_agent.core.images import (
    QCOW2_MAGIC,
    BadImage,
    Dataset,
    FilePath,
    ImageName,
    digest_differs,
    directory_size,
    fitting_size,
    image_name,
    import_order,
    inodes_for,
    qcow2_size,
)

GOLDEN = types.Image(name="golden", snapshot="1")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "-r", ".hidden", "a/b", "../a", "a@b", "a#b", "a%b", "a b", "a\0", "a\n", "é",
     "_import-1", "a" * 65],
)  # fmt: skip
def test_names_that_are_none(name: str) -> None:
    for image in (
        types.Image(name=name, snapshot="1"),
        types.Image(name="golden", snapshot=name),
    ):
        with pytest.raises(BadImage, match="beginning with a letter or digit"):
            image_name(image)


@pytest.mark.parametrize(
    "source",
    ["", "tank/../x", "-r", "tank/-r", "tank//x", "tank/", "tank/.x", "tank/x@", "tank/x@-r",
     "tank/x@a@b", "tank/x#b", "tank/x y", "rel/../path", "/a\nb", "/a\0b", "/" + "a" * 4096,
     "a" * 256],
)  # fmt: skip
def test_sources_that_are_none(source: str) -> None:
    with pytest.raises(BadImage):
        import_order(GOLDEN, source, 0)


def test_sources() -> None:
    assert import_order(GOLDEN, "/srv/a b.raw", 0).source == FilePath("/srv/a b.raw")
    assert import_order(GOLDEN, "tank/vms/x", 0).source == Dataset("tank/vms/x")
    assert import_order(GOLDEN, "tank/x@1", 5).source == Dataset("tank/x", "1")
    with pytest.raises(BadImage, match="sha256:"):
        import_order(types.Image(name="golden", snapshot="1", digest="md5:1"), "/x", 0)
    with pytest.raises(BadImage, match="more than"):
        import_order(GOLDEN, "/x", 1 << 60)


def header(
    version: int = 3, backing: int = 0, size: int = 1 << 30, encryption: int = 0, features: int = 0
) -> bytes:
    fixed = struct.pack(">4sIQIIQI", QCOW2_MAGIC, version, backing, 0, 16, size, encryption)
    return fixed.ljust(72, b"\0") + struct.pack(">Q", features)


def test_a_qcow2_is_known_by_its_first_bytes() -> None:
    assert qcow2_size(b"") is None
    assert qcow2_size(b"\0" * 80) is None
    assert qcow2_size(header()) == 1 << 30
    assert qcow2_size(header(version=2, features=4)) == 1 << 30  # there, those are no features


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (header(backing=112), "refers to another file"),
        (header(features=4), "refers to another file"),
        (header(encryption=1), "encrypted"),
        (header(version=1), "version 1"),
        (header(size=0), "0 bytes"),
        (header(size=1 << 60), "a disk has"),
        (header()[:40], "within its header"),
    ],
)
def test_a_qcow2_that_cannot_be_taken(bad: bytes, said: str) -> None:
    with pytest.raises(BadImage, match=said):
        qcow2_size(bad)


def test_sizes() -> None:
    assert fitting_size(100, 0, "x") == 16384
    assert fitting_size(100, 20000, "x") == 32768
    with pytest.raises(BadImage, match="does not fit"):
        fitting_size(100, 99, "x")
    with pytest.raises(BadImage, match="empty"):
        fitting_size(0, 0, "x")
    content = 100 << 20
    assert content * 1.2 < directory_size(content, inodes_for(1000)) < content * 1.6


def test_a_digest_that_is_not_asked_for_does_not_matter() -> None:
    image = ImageName("golden", "1")
    assert digest_differs(image, "", "") == digest_differs(image, "", "b") == ""
    assert digest_differs(image, "a", "a") == ""
    assert "asks for a" in digest_differs(image, "a", "b")
    assert "images import" in digest_differs(image, "a", "")
