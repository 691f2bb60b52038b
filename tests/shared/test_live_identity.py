"""Certificates that are taken into use as their files change."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.certificates.live_identity import LiveIdentity
from fleet.transport import Role
from fleetctl.local.certificate_authority import write_identity
from fleetctl.local.key_files import write_private
from tests.certificates import authority


def written(folder: Path) -> LiveIdentity:
    write_identity(folder, authority().identity(Role.CONTROLLER, "c1"))
    return LiveIdentity(folder)


def test_what_is_replaced_is_used_from_the_next_connection_on(tmp_path: Path) -> None:
    live = written(tmp_path)
    before, credentials = live.current, live.for_channel()
    assert live.current is before and live.for_channel() is credentials, "nothing has changed"
    write_identity(tmp_path, authority().identity(Role.CONTROLLER, "c1"))
    assert live.current.certificate != before.certificate
    assert live.for_channel() is not credentials


def test_half_of_a_pair_changes_nothing_until_the_other_half_is_there(tmp_path: Path) -> None:
    told: list[str] = []
    written(tmp_path)
    live = LiveIdentity(tmp_path, told.append)
    before, after = live.current, authority().identity(Role.CONTROLLER, "c1")
    (tmp_path / "cert.pem").write_bytes(after.certificate)
    assert live.current == before and live.current == before
    assert len(told) == 1 and "key.pem is not the key of cert.pem" in told[0], "told once"
    write_private(tmp_path / "key.pem", after.key)
    assert live.current == after
    assert told[1:] == ["taken into use"]


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem"])
def test_what_is_no_certificate_changes_nothing(tmp_path: Path, name: str) -> None:
    live = written(tmp_path)
    before = live.current
    (tmp_path / name).write_bytes(b"rubbish")
    assert live.current == before
    (tmp_path / name).unlink()
    assert live.current == before


def test_a_further_authority_that_is_none_changes_nothing(tmp_path: Path) -> None:
    live = written(tmp_path)
    before = live.current
    broken = b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n"
    (tmp_path / "ca.pem").write_bytes(before.ca + broken)
    assert live.current == before


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    told: list[str] = []
    written(tmp_path)
    live = LiveIdentity(tmp_path, told.append)
    before = live.current
    write_identity(tmp_path, authority().identity(Role.CONTROLLER, "c1"))
    (tmp_path / "key.pem").chmod(0o644)
    assert live.current == before and "chmod 600" in told[0]
