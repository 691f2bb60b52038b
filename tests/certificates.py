"""Certificates for tests: one authority a test session, identities written where asked."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fleet.transport import Identity, Role
from fleetctl.local.certificate_authority import Authority, write_identity


@cache
def authority() -> Authority:
    """The authority that all parties of the tests trust, unless a test brings another."""
    return Authority.create("Test")


@cache
def identity(role: Role, name: str) -> Identity:
    """The identity of a party, made once."""
    return authority().identity(role, name)


def issue(folder: Path, role: Role, name: str) -> Path:
    """Writes ca.pem, cert.pem and key.pem of a party into a folder, and returns the folder."""
    write_identity(folder, identity(role, name))
    return folder
