"""Certificates for tests: one authority a test session, identities written where asked."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

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


@cache
def _authoritys_key() -> ec.EllipticCurvePrivateKey:
    with tempfile.TemporaryDirectory() as folder:
        authority().save(Path(folder))
        pem = (Path(folder) / "ca-key.pem").read_bytes()
    key = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def odd_identity(
    names: Sequence[x509.GeneralName],
    subject: str = "x",
    since: timedelta = timedelta(days=-1),
    until: timedelta = timedelta(days=30),
) -> Identity:
    """What the authority has signed and fleetctl would not: any names, any dates from now."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.load_pem_x509_certificate(authority().certificate).subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + since)
        .not_valid_after(now + until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
            ),
            critical=False,
        )
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    signed = builder.sign(_authoritys_key(), hashes.SHA256())
    return Identity(
        authority().certificate, signed.public_bytes(serialization.Encoding.PEM), private
    )
