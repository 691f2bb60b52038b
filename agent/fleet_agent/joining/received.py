"""Certificates that a controller has sent, looked at before they take the place of others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from fleet.certificates.authorities import certificates_in
from fleet.certificates.certificate import read_certificate
from fleet.peers import NoRole, holder_of
from fleet.transport import Role

_MOST = 8  # certificates in one text


class BadAnswer(Exception):
    """What is wrong with them; one sentence."""


def check_received(certificates: bytes, authorities: bytes, host: str, key: bytes) -> None:
    """PEM. The first names this host and has its key; each is signed by the next, and the last by
    one of the authorities. Raises BadAnswer."""
    try:
        chain = [x509.load_der_x509_certificate(der) for der in certificates_in(certificates)]
        trusted = [x509.load_der_x509_certificate(der) for der in certificates_in(authorities)]
        own = serialization.load_pem_private_key(key, password=None).public_key()
        holder = holder_of(read_certificate(certificates))
    except (ValueError, TypeError, NoRole) as error:
        raise BadAnswer(str(error)) from error
    if not 1 <= len(chain) <= _MOST or not 1 <= len(trusted) <= _MOST:
        raise BadAnswer("it has no certificate, or too many")
    if (holder.role, holder.name) != (Role.AGENT, host):
        raise BadAnswer(f"the certificate is that of {holder}, not of {host}")
    if chain[0].public_key() != own:
        raise BadAnswer("the certificate is for another key")
    for signed, by in pairwise(chain):
        if not _signed(signed, by):
            raise BadAnswer("the certificate is not signed by the one that came with it")
    if not any(_signed(chain[-1], by) for by in trusted):
        raise BadAnswer("no authority has signed it")


def is_below(chain: Sequence[bytes], authority: bytes) -> bool:
    """DER. Whether the authority has signed the first one, or the last of those that have signed
    one another from there on; what else was shown is passed over. Raises ValueError where the
    first or the authority is none."""
    signed = x509.load_der_x509_certificate(chain[0])
    root = x509.load_der_x509_certificate(authority)
    for der in chain[1:]:
        if _signed(signed, root):
            return True
        above = _read(der)
        if above is not None and _signed(signed, above):
            signed = above
    return _signed(signed, root)


def _read(der: bytes) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError:
        return None


def _signed(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
