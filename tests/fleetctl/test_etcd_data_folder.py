"""What a member of etcd has is put aside, and what is restored put in its place, on one file
system: also where the folder is a mount point, which cannot be renamed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fleetctl.founding.installing import move_data_aside
from fleetctl.founding.machine import Machine
from fleetctl.local import etcd_member
from fleetctl.local.etcd_member import MemberSettings, beside

TOOL = """#!/bin/sh
# As etcdutl does: a new folder with all of a member in it.
for word in "$@"; do case "$word" in --data-dir=*) into="${word#*=}";; esac; done
mkdir -p "$into/member" && cp "$3" "$into/member/db"
"""


@pytest.fixture(params=["folder", "mount point"])
def data(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """etcd's folder, with a member in it."""
    data = Machine(tmp_path).etcd_data
    (data / "member").mkdir(parents=True)
    (data / "member" / "db").write_text("before")
    if request.param == "mount point":
        monkeypatch.setattr(os.path, "ismount", lambda path: path == data)
        rename = Path.rename

        def refused(self: Path, target: Path) -> Path:
            assert self != data and Path(target) != data, "a mount point is busy"
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", refused)
    return data


def test_an_earlier_members_data_is_put_aside(data: Path, tmp_path: Path) -> None:
    aside = move_data_aside(Machine(tmp_path))
    assert aside is not None and (aside / "member" / "db").read_text() == "before"
    assert not (data / "member").exists()


def test_a_backup_takes_the_place_of_what_was_there(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "etcdutl"
    program.write_text(TOOL)
    program.chmod(stat.S_IRWXU)
    monkeypatch.setattr(etcd_member, "tool", lambda: [str(program), "snapshot", "restore"])
    backup = tmp_path / "backup.db"
    backup.write_text("of the backup")
    member = MemberSettings("c1", data, "https://c1:2380", "c1=https://c1:2380")
    for number, there in enumerate(("before", "of the backup")):
        aside = beside(data, f"before-{number}")
        etcd_member.restore(backup, member, "digest", aside)
        assert (aside / "member" / "db").read_text() == there
        assert (data / "member" / "db").read_text() == "of the backup"
    assert not beside(data, "restoring").exists()
