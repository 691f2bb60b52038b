"""The certificates in a PEM text, and their digests: whom somebody trusts, in a form to compare."""

from __future__ import annotations

import binascii
import hashlib
import re
from functools import lru_cache

from fleet.v1 import joining_pb2 as joining

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


def certificates_in(pem: bytes) -> tuple[bytes, ...]:
    """DER, in their order. Raises ValueError for what is no base64."""
    return tuple(binascii.a2b_base64(found[1]) for found in _PEM.finditer(pem))


def as_pem(der: bytes) -> bytes:
    body = binascii.b2a_base64(der, newline=False)
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    return b"\n".join([begin, *lines, end, b""])


@lru_cache(maxsize=64)
def digests(pem: bytes) -> tuple[bytes, ...]:
    """SHA-256 of each certificate's DER, sorted: equal for those who trust the same."""
    return tuple(sorted({digest(der) for der in certificates_in(pem)}))


def digest(der: bytes) -> bytes:
    return hashlib.sha256(der).digest()


def issuing_digest(pem: bytes) -> bytes:
    """Of the second certificate of a holder's own text, which has signed the first; empty where
    the authority itself has."""
    found = certificates_in(pem)
    return digest(found[1]) if len(found) > 1 else b""


def trust_of(authorities: bytes, certificate: bytes) -> joining.Trust:
    """What a holder of these (PEM) holds. Raises ValueError."""
    return joining.Trust(authorities=digests(authorities), issuing=issuing_digest(certificate))


def digest_of_trust(trust: joining.Trust) -> bytes:
    """Equal for those who hold the same."""
    return digest(b"".join([*sorted(trust.authorities), b"/", trust.issuing]))
