"""Keys that others may read are refused by whoever reads them; what is written is written whole."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from fleet.private_file import read_private, replace_private, said_of
from fleet.transport import Identity, Role
from fleetctl.local.certificate_authority import Authority, AuthorityError
from fleetctl.outcome import Unreachable
from megafleet.connection.replicas.own_certificate import load_identity
from megafleet.contexts import ClusterContext
from tests.certificates import authority, issue


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o602])
def test_a_key_that_others_may_read_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, mode: int
) -> None:
    key = issue(tmp_path / "an identity", Role.AGENT, "h1") / "key.pem"
    key.chmod(mode)
    told = f"mode {mode:04o}.*secret: chmod 600 '{key}'$"
    with pytest.raises(PermissionError, match=told) as refused:
        Identity.load(key.parent)
    assert str(refused.value).startswith(f"{key} may be read or written by others")
    with pytest.raises(Unreachable, match=told):
        load_identity(ClusterContext.with_identity((), key.parent))


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_of_ones_own_is_read(tmp_path: Path, mode: int) -> None:
    key = issue(tmp_path / "me", Role.AGENT, "h1") / "key.pem"
    key.chmod(mode)
    assert read_private(key).startswith(b"-----BEGIN")
    assert Identity.load(key.parent).key == read_private(key)


def test_an_authoritys_key_that_others_may_read_signs_nothing(tmp_path: Path) -> None:
    authority().save(tmp_path)
    (tmp_path / "ca-key.pem").chmod(0o644)
    with pytest.raises(AuthorityError, match="chmod 600"):
        Authority.load(tmp_path)


def test_what_is_replaced_is_its_owners_alone_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file, beside = tmp_path / "key.pem", tmp_path / "key.pem.new"
    beside.write_bytes(b"left by a program that was killed, and longer than what comes")
    beside.chmod(0o666)
    for content in (b"first", b""):
        replace_private(file, content)
        assert read_private(file) == content and os.listdir(tmp_path) == ["key.pem"]


def test_what_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key.pem"
    replace_private(file, b"first")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no room"):
        replace_private(file, b"second")
    assert file.read_bytes() == b"first" and os.listdir(tmp_path) == ["key.pem"]


def test_a_link_in_its_place_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"somebody's")
    (tmp_path / "key.pem.new").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"):
        replace_private(tmp_path / "key.pem", b"mine")
    assert (tmp_path / "other").read_bytes() == b"somebody's"


def test_two_who_write_one_file_mix_nothing(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    contents = [bytes([number]) * 300_000 for number in range(4)]
    failures: list[BaseException] = []

    def write(content: bytes) -> None:
        try:
            for _ in range(20):
                replace_private(file, content, lasting=False)
                assert file.read_bytes() in contents
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and os.listdir(tmp_path) == ["key.pem"]


def test_what_cannot_be_read_is_told_without_the_number_of_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError) as missing:
        read_private(tmp_path / "key.pem")
    assert said_of(missing.value) == f"{tmp_path}/key.pem: No such file or directory"
    (tmp_path / "key.pem").touch(mode=0o644)
    with pytest.raises(OSError) as open_to_all:
        read_private(tmp_path / "key.pem")
    assert said_of(open_to_all.value) == str(open_to_all.value)
