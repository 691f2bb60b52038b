"""What may be wrong with one's own certificate, looked at once a controller has hung up.

With TLS 1.3 a server that refuses a certificate only closes the connection: why, one has to
find out by oneself.
"""

from __future__ import annotations

from datetime import UTC, datetime

from fleetctl.contexts import ClusterContext


def fault(context: ClusterContext, now: datetime | None = None) -> str | None:
    """One sentence, or None when nothing is wrong with it as far as can be seen from here."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    now = now or datetime.now(UTC)
    try:
        ours = x509.load_pem_x509_certificate(context.certificate.read_bytes())
        authority = x509.load_pem_x509_certificate(context.ca.read_bytes())
    except (OSError, ValueError):
        return f"{context.certificate} or {context.ca} holds no certificate"
    for file, one in ((context.certificate, ours), (context.ca, authority)):
        if one.not_valid_after_utc < now:
            return f"{file} expired on {one.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        if one.not_valid_before_utc > now:
            return f"{file} is not valid before {one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    try:
        ours.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return f"{context.certificate} is not signed by {context.ca}"
    return None
