"""One's own certificate: how it is read, and what may be wrong with it when a controller has hung
up.

With TLS 1.3 a server that refuses a certificate only closes the connection, and does not say why.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.private_file import read_private
from fleet.transport import Identity
from megafleet.contexts import ClusterContext
from megafleet.errors import Unreachable

if TYPE_CHECKING:
    from cryptography import x509


def load_identity(context: ClusterContext) -> Identity:
    """The files of a context. Raises Unreachable naming the one that is missing or no PEM."""
    return Identity(
        ca=_pem(context.ca),
        certificate=_pem(context.certificate),
        key=_pem(context.key, read_private),
    )


def _pem(file: Path, read: Callable[[Path], bytes] = Path.read_bytes) -> bytes:
    try:
        content = read(file)
    except OSError as error:
        if error.errno is None:  # others may read it
            raise Unreachable(str(error)) from error
        raise Unreachable(
            f"cannot read {file}: {error.strerror}; it must be there to prove who you are"
        ) from error
    if b"-----BEGIN " not in content:
        raise Unreachable(f"{file} is not a PEM file")
    return content


def certificate_fault(context: ClusterContext, now: datetime | None = None) -> str | None:
    """What is wrong with the certificate, as far as can be seen from here; None: nothing."""
    from cryptography import x509

    now = now or datetime.now(UTC)
    try:
        ours = x509.load_pem_x509_certificate(context.certificate.read_bytes())
        authorities = x509.load_pem_x509_certificates(context.ca.read_bytes())
    except (OSError, ValueError):
        return f"{context.certificate} or {context.ca} holds no certificate"
    found = [one for one in authorities if _has_signed(one, ours)]
    for file, one in ((context.certificate, ours), *((context.ca, one) for one in found)):
        if one.not_valid_after_utc < now:
            return f"{file} expired on {one.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        if one.not_valid_before_utc > now:
            return f"{file} is not valid before {one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    return None if found else f"{context.certificate} is not signed by {context.ca}"


def _has_signed(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
