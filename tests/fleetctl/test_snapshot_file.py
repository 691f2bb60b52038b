"""A backup's file: one writer at a time, its owner's alone, and never lost once it is whole."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from pathlib import Path

import pytest

from fleetctl.local.snapshot_file import SnapshotFile, check
from fleetctl.outcome import Failed
from fleetctl.support.archive import write_bundle


def snapshot(body: bytes) -> bytes:
    """As etcd ends one."""
    return body + hashlib.sha256(body).digest()


FIRST, SECOND = snapshot(b"first" * 1000), snapshot(b"second" * 3000)


def refusing(number: int) -> object:
    def refuse(*given: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def write(path: Path, content: bytes, *, force: bool = False) -> str:
    with SnapshotFile(path, force=force) as made:
        made.add(content)
        return made.finish()


def test_two_backups_to_one_file_do_not_meet(tmp_path: Path) -> None:
    file = tmp_path / "b.db"
    with SnapshotFile(file, force=False) as made:
        made.add(FIRST[:1000])
        with pytest.raises(Failed, match=r"another backup is being written to .*b\.db\.part$"):
            write(file, SECOND)
        made.add(FIRST[1000:])
        digest = made.finish()
    assert file.read_bytes() == FIRST and check(file) == digest
    assert os.listdir(tmp_path) == ["b.db"]
    assert write(file, SECOND, force=True) == check(file) == hashlib.sha256(SECOND).hexdigest()


def test_the_draft_is_held_until_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, link = tmp_path / "b.db", os.link

    def meanwhile(draft: Path, path: Path) -> None:
        with pytest.raises(Failed, match="another backup is being written"):
            write(file, SECOND, force=True)
        link(draft, path)

    monkeypatch.setattr(os, "link", meanwhile)
    assert write(file, FIRST) == check(file)


def test_a_draft_that_was_named_while_it_was_opened_is_another_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has written it gives it its name between the opening and the lock."""
    file, draft, lock = tmp_path / "b.db", tmp_path / "b.db.part", fcntl.flock
    draft.write_bytes(FIRST)

    def named_first(handle: int, how: int) -> None:
        if draft.exists() and not file.exists():
            os.replace(draft, file)
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", named_first)
    with SnapshotFile(tmp_path / "b.db", force=True) as made:
        made.add(SECOND)
        assert file.read_bytes() == FIRST
        made.finish()
    assert file.read_bytes() == SECOND


def test_what_is_left_of_one_that_was_killed_is_no_part_of_the_next_and_nobody_elses(
    tmp_path: Path,
) -> None:
    file, draft = tmp_path / "b.db", tmp_path / "b.db.part"
    draft.write_bytes(SECOND * 2)
    draft.chmod(0o644)
    with SnapshotFile(file, force=False) as made:
        assert stat.S_IMODE(draft.stat().st_mode) == 0o600 and not draft.stat().st_size
        made.add(FIRST)
        made.finish()
    assert file.read_bytes() == FIRST and stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_link_in_the_place_of_the_draft_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"somebody's")
    (tmp_path / "b.db.part").symlink_to(tmp_path / "other")
    with pytest.raises(Failed, match=r"cannot write .*b\.db\.part: .*symbolic links"):
        write(tmp_path / "b.db", FIRST)
    assert (tmp_path / "other").read_bytes() == b"somebody's"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_takes_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    assert write(tmp_path / "b.db", FIRST) == check(tmp_path / "b.db")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links_takes_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", refusing(number))
    file = tmp_path / "b.db"
    assert write(file, FIRST) == check(file)
    assert os.listdir(tmp_path) == ["b.db"]
    with pytest.raises(Failed, match=r"is there already; --force overwrites it"):
        write(file, SECOND)
    assert write(file, SECOND, force=True) == check(file)


@pytest.mark.parametrize("links", [True, False])
def test_what_somebody_else_has_made_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    file = tmp_path / "b.db"
    with pytest.raises(Failed, match="has been made by somebody else meanwhile"):
        with SnapshotFile(file, force=False) as made:
            made.add(FIRST)
            file.write_bytes(b"somebody's")
            made.finish()
    assert file.read_bytes() == b"somebody's" and os.listdir(tmp_path) == ["b.db"]


@pytest.mark.parametrize("force", [True, False])
def test_a_whole_backup_that_cannot_be_named_stays_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    monkeypatch.setattr(os, "replace" if force else "link", refusing(errno.EIO))
    file, draft = tmp_path / "b.db", tmp_path / "b.db.part"
    with pytest.raises(Failed) as failed:
        write(file, FIRST, force=force)
    assert failed.value.message == (
        f"{draft} is the whole backup, and cannot be named {file}: {os.strerror(errno.EIO)}"
    )
    assert not file.exists() and check(draft)


@pytest.mark.parametrize("content", [FIRST[:-1], b""])
def test_what_did_not_come_whole_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Failed, match="did not come whole"):
        write(tmp_path / "b.db", content)
    assert not os.listdir(tmp_path)


def test_a_bundle_is_written_as_a_backup_is(tmp_path: Path) -> None:
    file, draft = tmp_path / "b.tar.gz", tmp_path / "b.tar.gz.part"
    draft.write_bytes(b"left by one that was killed")
    draft.chmod(0o644)
    write_bundle(file, {"a.json": 1}, {}, None, force=False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and os.listdir(tmp_path) == ["b.tar.gz"]
    draft.symlink_to(tmp_path / "other")
    with pytest.raises(Failed, match="symbolic links"):
        write_bundle(file, {"a.json": 1}, {}, None, force=True)
    draft.unlink()
    with draft.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Failed, match="another bundle is being written to"):
            write_bundle(file, {"a.json": 1}, {}, None, force=True)
        assert draft.exists()
