"""Keys that others may read are refused by whoever reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.private_file import read_private
from fleet.transport import Identity, Role
from fleetctl.client.contexts import ClusterContext
from fleetctl.client.replicas.own_certificate import load_identity
from fleetctl.local.certificate_authority import Authority, AuthorityError
from fleetctl.outcome import Unreachable
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
