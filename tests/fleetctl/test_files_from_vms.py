"""Files of VMs as they are written here: whole or not at all, and through no link."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from fleet.guest_commands.answers import BadAnswer
from fleet.guest_commands.copies import PART_BYTES
from fleet.guest_commands.files_out import Leaving
from fleet.ranges import IndexSet
from fleet.v1 import copies_pb2 as wire
from fleetctl.local.files_from_vms import DIFFERS, THERE, FileFromVm, FilesFromVms
from fleetctl.outcome import Failed

CONTENT = b"x" * PART_BYTES + b"y" * 7
MOST = 1 << 20


def parts_of(index: int, content: bytes = CONTENT) -> list[wire.FilePart]:
    leaving = Leaving(index)
    return [*leaving.add(content), leaving.last()]


def files(folder: Path, *, force: bool = False, asked: IndexSet | None = None) -> FilesFromVms:
    return FilesFromVms(str(folder), "web", MOST, asked, force=force)


def taken(here: FilesFromVms, parts: list[wire.FilePart]) -> FileFromVm:
    *first, last = parts
    assert [here.take(part) for part in first] == [None] * len(first)
    told = here.take(last)
    assert told is not None
    return told


def test_files_that_come_among_each_other_have_their_vms_names(tmp_path: Path) -> None:
    with files(tmp_path / "new") as here:
        (a, b), (c, d) = parts_of(7), parts_of(8, CONTENT[::-1])
        for part in (a, c):
            assert here.take(part) is None
        assert not [
            one for one in os.listdir(tmp_path / "new") if not one.startswith(".fleet-copy")
        ]
        told = [here.take(part) for part in (d, b)]
    assert [one.reason for one in told if one] == ["", ""]
    assert (tmp_path / "new" / "web-7").read_bytes() == CONTENT
    assert (tmp_path / "new" / "web-8").read_bytes() == CONTENT[::-1]
    assert sorted(os.listdir(tmp_path / "new")) == ["web-7", "web-8"]
    assert (tmp_path / "new" / "web-7").stat().st_mode & 0o777 == 0o600


def test_what_is_here_already_stays_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "web-7").write_text("as before")
    with files(tmp_path) as here:
        assert taken(here, parts_of(7)).reason == THERE
    assert (tmp_path / "web-7").read_text() == "as before"
    with files(tmp_path, force=True) as here:
        assert not taken(here, parts_of(7)).reason
    assert (tmp_path / "web-7").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["web-7"]


def test_what_appears_while_it_comes_is_not_replaced(tmp_path: Path) -> None:
    first, last = parts_of(7)
    with files(tmp_path) as here:
        here.take(first)
        (tmp_path / "web-7").write_text("just now")
        told = here.take(last)
    assert told and told.reason == THERE and (tmp_path / "web-7").read_text() == "just now"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_never_followed(tmp_path: Path, force: bool, there: bool) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    folder.mkdir()
    if there:
        elsewhere.write_text("as before")
    (folder / "web-7").symlink_to(elsewhere)
    with files(folder, force=force) as here:
        assert (taken(here, parts_of(7)).reason == THERE) is not force
    assert (folder / "web-7").is_symlink() is not force
    assert elsewhere.exists() is there and (not there or elsewhere.read_text() == "as before")


def test_a_folder_of_that_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "web-7").mkdir()
    with files(tmp_path, force=True) as here:
        assert "cannot be written here" in taken(here, parts_of(7)).reason
    assert os.listdir(tmp_path) == ["web-7"]


def test_another_digest_is_no_file(tmp_path: Path) -> None:
    first, last = parts_of(7)
    last.end.digest = hashlib.sha256(b"other").digest()
    with files(tmp_path) as here:
        assert taken(here, [first, last]).reason == DIFFERS
    assert not os.listdir(tmp_path)


def test_a_file_without_room_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write

    def write(descriptor: int, data: memoryview) -> int:
        if bytes(data[:1]) == b"y":
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    with files(tmp_path) as here:
        assert (
            taken(here, parts_of(7)).reason == "it cannot be written here: No space left on device"
        )
        assert not taken(here, parts_of(8, b"x")).reason
    assert os.listdir(tmp_path) == ["web-8"]


def test_whatever_ends_it_leaves_no_half_files(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), files(tmp_path / "new") as here:
        here.take(parts_of(7)[0])
        raise KeyboardInterrupt
    assert not (tmp_path / "new").exists()
    with files(tmp_path) as here:
        here.take(parts_of(7)[0])
        here.take(wire.FilePart(index=7, given_up=True))
        here.take(parts_of(8)[0])
        here.without(IndexSet.of((7, 8)))
        assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        wire.FilePart(index=5, data=CONTENT[:PART_BYTES]),  # ended
        wire.FilePart(index=6, data=CONTENT[:PART_BYTES]),  # has none
        wire.FilePart(index=10, data=CONTENT[:PART_BYTES]),  # not asked for
        wire.FilePart(index=1 << 31, data=CONTENT[:PART_BYTES]),
        wire.FilePart(index=7, data=b"short"),
        wire.FilePart(index=7, data=b"x", end=wire.FileEnd(size=2, digest=b"x" * 32)),
        wire.FilePart(index=7, data=b"x", end=wire.FileEnd(size=1, digest=b"x")),
    ],
)
def test_parts_that_cannot_be_are_refused(tmp_path: Path, wrong: wire.FilePart) -> None:
    with files(tmp_path, asked=IndexSet.span(0, 10)) as here:
        taken(here, parts_of(5))
        here.without(IndexSet.of((6,)))
        with pytest.raises(BadAnswer):
            here.take(wrong)
    assert os.listdir(tmp_path) == ["web-5"]


def test_more_than_was_asked_for_is_refused(tmp_path: Path) -> None:
    with files(tmp_path) as here, pytest.raises(BadAnswer):
        for _ in range(MOST // PART_BYTES + 1):
            here.take(wire.FilePart(index=0, data=CONTENT[:PART_BYTES]))
    assert not os.listdir(tmp_path)


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "no" / "such"):
        with pytest.raises(Failed, match="cannot be written into"), files(folder):
            pass
