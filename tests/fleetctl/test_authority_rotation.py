"""The last step of an authority's rotation: ended anywhere, the same command goes on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fleet.transport import Role
from fleetctl.local.authority_rotation import begin, finish, reissue
from fleetctl.local.certificate_authority import Authority, AuthorityError, write_identity

DAY = timedelta(days=1)
CHANGES = ("mkdir", "open", "replace", "unlink", "rmdir")


class PowerCut(BaseException):
    pass


@contextmanager
def cut_after(changes: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So many changes of files take place, and none after them."""
    left = changes

    def counted(change: Any) -> Any:
        def call(*given: Any, **more: Any) -> Any:
            nonlocal left
            is_change = change.__name__ != "open" or given[1] & os.O_CREAT
            if is_change and left == 0:
                raise PowerCut
            left -= bool(is_change)
            return change(*given, **more)

        return call

    with monkeypatch.context() as patched:
        for name in CHANGES:
            patched.setattr(os, name, counted(getattr(os, name)))
        yield


def reissued(tmp_path: Path) -> tuple[Path, Path, bytes, bytes]:
    """The authority's folder, that of an identity; the former's certificate, and the next one's."""
    ca, alice = tmp_path / "ca", tmp_path / "alice"
    first = Authority.create("First")
    first.save(ca)
    write_identity(alice, first.identity(Role.OPERATOR, "alice"))
    begin(ca, [alice], "Second", DAY)
    reissue(ca, [alice], DAY)
    return ca, alice, first.certificate, (ca / "next" / "ca.pem").read_bytes()


def test_a_finish_that_was_cut_off_anywhere_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    _, _, former, following = reissued(made)
    for changes in range(100):
        shutil.rmtree(tmp_path / "now", ignore_errors=True)
        shutil.copytree(made, tmp_path / "now")
        ca, alice = tmp_path / "now" / "ca", tmp_path / "now" / "alice"
        whole = True
        with cut_after(changes, monkeypatch):
            try:
                finish(ca, [alice])
            except PowerCut:
                whole = False
        if not whole and (ca / "trust.pem").exists():
            finish(ca, [alice])
        assert Authority.load(ca).certificate == following
        assert (alice / "ca.pem").read_bytes() == following
        left = {one.name for one in ca.iterdir() if not one.name.startswith(("former-", "."))}
        assert left == {"ca.pem", "ca-key.pem"}
        assert former in [Authority.load(one).certificate for one in whole_copies(ca)]
        if whole:
            break
    assert changes > 10


def whole_copies(ca: Path) -> list[Path]:
    return [one for one in ca.glob("former-*") if (one / "ca.pem").exists()]


def test_nothing_is_finished_twice(tmp_path: Path) -> None:
    ca, alice, *_ = reissued(tmp_path)
    finish(ca, [alice])
    with pytest.raises(AuthorityError, match="begin with"):
        finish(ca, [alice])
