"""Certificates that have ended, or have not begun: told with file, date and clock.

With TLS 1.3 a server that refuses a certificate only closes the connection. Whoever has shown it
sees `Socket closed`, and must look at its own; whoever refuses it sees why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fleet.certificates.certificate import Certificate, read_certificate

_REFUSED = re.compile(r"CERTIFICATE_VERIFY_FAILED: ([a-z -]+)")
_FORM = "%Y-%m-%d %H:%M UTC"


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """A certificate of one's own. `what`: in a few words, for people."""

    what: str
    file: Path
    certificate: Certificate

    @property
    def expires(self) -> int:
        """Seconds since 1970."""
        return int(self.certificate.not_after.timestamp())

    def fault(self, now: datetime) -> str:
        """What is wrong with its dates; empty: nothing."""
        if self.certificate.not_after < now:
            wrong = f"expired on {self.certificate.not_after:{_FORM}}"
        elif self.certificate.not_before > now:
            wrong = f"is not valid before {self.certificate.not_before:{_FORM}}"
        else:
            return ""
        return f"{self.file} {wrong}, and the clock here says {now:{_FORM}}"


def certificate_files(folder: Path, what: str, authority: str) -> tuple[CertificateFile, ...]:
    """cert.pem and ca.pem of a folder; what cannot be read is told elsewhere, and left out."""
    return certificate_file(folder / "cert.pem", what) + certificate_file(
        folder / "ca.pem", authority
    )


def certificate_file(file: Path, what: str) -> tuple[CertificateFile, ...]:
    """That one; none where it cannot be read."""
    try:
        return (CertificateFile(what, file, read_certificate(file.read_bytes())),)
    except (OSError, ValueError):
        return ()


def faults(files: Iterable[CertificateFile], now: datetime | None = None) -> str:
    """What is wrong with the dates of any of them; empty: nothing."""
    at = now or datetime.now(UTC)
    return "; ".join(fault for one in files if (fault := one.fault(at)))


def with_faults(message: str, files: Sequence[CertificateFile]) -> str:
    """Why a connection failed, and what is wrong with one's own certificates, which may be why."""
    found = faults(files)
    return f"{message}; {found}" if found else message


def why_refused(details: str) -> str:
    """What this side has found wrong with the certificate of the other one, from gRPC's words for
    a connection that failed; empty: something else failed."""
    found = _REFUSED.search(details)
    if found is None:
        return ""
    return (
        f"the certificate shown there is refused ({found[1]}): look at its dates, and both clocks"
    )
