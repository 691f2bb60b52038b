"""What may be copied into VMs, and its content as it arrives."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from fleet.guest_commands.answers import BadCommand
from fleet.guest_commands.copies import (
    MOST_FILE_BYTES,
    PART_BYTES,
    Arriving,
    check_file,
    parts_of,
)
from fleet.v1 import copies_pb2 as wire

CONTENT = bytes(range(256)) * 600


def said(content: bytes = CONTENT, **fields: Any) -> wire.CopiedFile:
    digest = hashlib.sha256(content).digest()
    told = {"path": "/etc/motd", "mode": 0o644, "size": len(content), "digest": digest}
    return wire.CopiedFile(**{**told, "timeout_ms": 1000, **fields})


@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
def test_what_comes_in_parts_is_whole_again(content: bytes) -> None:
    check_file(said(content))
    arriving = Arriving(said(content))
    for part in parts_of(content):
        assert len(part) <= PART_BYTES and not arriving.is_complete
        arriving.add(part)
    assert arriving.is_complete and arriving.whole() == content


@pytest.mark.parametrize(
    "path",
    ["", "motd", "etc/motd", "/", "/etc/", "/etc/../x", "/./x", "/a\nb", "/a\0b", "/" + "x" * 256,
     "/x" * 600],
)  # fmt: skip
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(BadCommand):
        check_file(said(path=path))


@pytest.mark.parametrize(
    "wrong",
    [{"mode": 0o1000}, {"size": MOST_FILE_BYTES + 1}, {"digest": b"x"}, {"timeout_ms": 0}],
)
def test_what_exceeds_a_bound_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadCommand):
        check_file(said(**wrong))


def test_what_is_more_less_or_other_than_was_said_is_refused() -> None:
    for bad in (b"", b"x" * (PART_BYTES + 1), b"x" * 11):
        with pytest.raises(BadCommand):
            Arriving(said(b"x" * 10)).add(bad)
    less, other = Arriving(said(b"x" * 10)), Arriving(said(b"x" * 10))
    less.add(b"x" * 9)
    other.add(b"y" * 10)
    for one, why in ((less, "9 of 10 bytes"), (other, "SHA-256 differs")):
        with pytest.raises(BadCommand, match=why):
            one.whole()
