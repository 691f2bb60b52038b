"""Certificates and keys as files: whose they are, and that root writes none through a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from fleet.transport import Role
from fleetctl.founding.machine import write_settings
from fleetctl.local.authority_rotation import begin, finish, reissue
from fleetctl.local.certificate_authority import write_identity, write_issuing
from fleetctl.local.key_files import close_to_others, hand_over
from tests.certificates import authority, identity

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user: needs root")
SOMEBODY = 4711

WRITERS: dict[str, Callable[[Path], None]] = {
    "identity": lambda folder: write_identity(folder, identity(Role.CONTROLLER, "c1")),
    "issuing": lambda folder: write_issuing(folder, authority().issue_issuing(timedelta(days=1))),
    "authority": lambda folder: authority().save(folder),
    "settings": lambda folder: write_settings(folder / "controller.env", "REPLICA=c1\n"),
}


def owners(folder: Path) -> set[tuple[int, int]]:
    return {(one.lstat().st_uid, one.lstat().st_gid) for one in (folder, *folder.iterdir())}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_nothing_is_written_through_a_link(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "sample")
    names = [one.name for one in (tmp_path / "sample").iterdir()]
    other = tmp_path / "shadow"
    other.write_text("somebody's")
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name in names:
        for there in (name, f".{name}.new"):
            (folder / there).symlink_to(other)
    write(folder)
    assert other.read_text() == "somebody's"
    modes = {one.name: stat.S_IMODE(one.lstat().st_mode) for one in folder.iterdir()}
    assert modes == {name: 0o600 if "key" in name else 0o644 for name in names}
    assert not any(one.is_symlink() for one in folder.iterdir())


@as_root
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_root_writes_belongs_to_whom_the_folder_belongs_to(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    os.chown(tmp_path, SOMEBODY, SOMEBODY)
    write(tmp_path)
    assert owners(tmp_path) == {(SOMEBODY, SOMEBODY)}


@as_root
def test_a_rotation_by_root_leaves_each_folder_its_owner(tmp_path: Path) -> None:
    ca, controller, issuing = tmp_path / "ca", tmp_path / "controller", tmp_path / "issuing"
    first = authority()
    first.save(ca)
    write_identity(controller, first.identity(Role.CONTROLLER, "c1"))
    write_issuing(issuing, first.issue_issuing(timedelta(days=1)))
    for folder in (controller, issuing):
        hand_over(folder, SOMEBODY, SOMEBODY)
    begin(ca, [controller], "Next", timedelta(days=1))
    reissue(ca, [controller, issuing], timedelta(days=1))
    finish(ca, [controller])
    assert owners(controller) == owners(issuing) == {(SOMEBODY, SOMEBODY)}


@as_root
def test_of_a_link_the_link_itself_is_handed_over(tmp_path: Path) -> None:
    file, folder = tmp_path / "shadow", tmp_path / "etc"
    file.touch()
    folder.mkdir()
    theirs = tmp_path / "theirs"
    (theirs / "member").mkdir(parents=True)
    (theirs / "file").symlink_to(file)
    (theirs / "member" / "folder").symlink_to(folder)
    hand_over(theirs, SOMEBODY, SOMEBODY)
    assert file.stat().st_uid == folder.stat().st_uid == 0
    assert owners(theirs) == owners(theirs / "member") == {(SOMEBODY, SOMEBODY)}


def test_a_link_is_not_closed_in_place_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(NotADirectoryError):
        close_to_others(tmp_path / "link")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
