"""Signs the certificates of hosts, with a key that can sign nothing else.

The issuing certificate has name constraints: what it signs for any other name is refused by all
who check, whatever this program does. The authority's own key stays offline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleet.certificates.authorities import certificates_in, digest, digests
from fleet.certificates.file_stamp import Stamp, stamp_of
from fleet.certificates.signing_request import UNREADABLE, SigningRequest
from fleet.private_file import read_private
from fleet.transport import Role, dns_name
from fleet.v1 import joining_pb2 as joining

ISSUING_FILE, ISSUING_KEY_FILE = "issuing.pem", "issuing-key.pem"
HOST_DAYS = 14.0
# Clocks of hosts differ: a certificate is good from a little before it was made; from a quarter of
# its life at most.
CLOCK_SKEW = timedelta(minutes=10)
_NO_AUTHORITY = x509.BasicConstraints(ca=False, path_length=None)
_BOTH_ENDS = x509.ExtendedKeyUsage(
    [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
)


class CannotIssue(Exception):
    """Why no certificate can be made now; one sentence."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """`digest`: SHA-256 of the certificate's DER. `names_it`: how others say who has signed."""

    certificate: x509.Certificate
    pem: bytes
    digest: bytes
    names_it: x509.AuthorityKeyIdentifier
    key: ec.EllipticCurvePrivateKey


class HostIssuer:
    """From issuing.pem and issuing-key.pem of a folder; read anew where they have changed."""

    def __init__(self, folder: Path, authorities: Callable[[], bytes], valid: timedelta) -> None:
        """`authorities`: PEM of what this controller trusts now. Raises CannotIssue, OSError."""
        self._folder = folder
        self._files = str(folder / ISSUING_FILE), str(folder / ISSUING_KEY_FILE)
        self._authorities = authorities
        self._valid = valid
        self._stamp = self._present()
        self._loaded = self._load()

    @property
    def authorities(self) -> bytes:
        """PEM."""
        return self._authorities()

    @property
    def expires(self) -> datetime:
        """When the issuing certificate ends."""
        return self._current().certificate.not_valid_after_utc

    @property
    def days(self) -> float:
        """How long what it signs is good."""
        return self._valid / timedelta(days=1)

    @property
    def trust(self) -> joining.Trust:
        """What hosts are to hold by now."""
        issuing = self._current().digest
        return joining.Trust(authorities=digests(self._authorities()), issuing=issuing)

    def issue(self, request: SigningRequest, now: datetime) -> bytes:
        """PEM: the host's certificate, then the issuing one. Raises CannotIssue."""
        by = self._current()
        if not by.certificate.not_valid_before_utc <= now <= by.certificate.not_valid_after_utc:
            raise CannotIssue(
                f"the issuing certificate {self._folder / ISSUING_FILE} ends on "
                f"{by.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, and the clock here says "
                f"{now:%Y-%m-%d %H:%M}: make another with 'fleetctl cluster renew', or with "
                "'fleetctl certs issuing'"
            )
        until = min(now + self._valid, by.certificate.not_valid_after_utc)
        holder = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, request.host[:64])])
        names = [x509.DNSName(dns_name(Role.AGENT, request.host))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(holder)
            .issuer_name(by.certificate.subject)
            .public_key(request.public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before((now - min(CLOCK_SKEW, self._valid / 4)).replace(microsecond=0))
            .not_valid_after(until.replace(microsecond=0))
            .add_extension(_NO_AUTHORITY, critical=True)
            .add_extension(_BOTH_ENDS, critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(by.names_it, critical=False)
            .sign(by.key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM) + by.pem

    def _current(self) -> _Loaded:
        """What was read last, where what is there now is no pair: half of it may be written."""
        stamp = self._present()
        if stamp != self._stamp:
            try:
                self._loaded = self._load()
                self._stamp = stamp
            except (OSError, CannotIssue):
                pass
        return self._loaded

    def _present(self) -> Stamp:
        return stamp_of(*self._files)

    def _load(self) -> _Loaded:
        """Raises CannotIssue, OSError."""
        try:
            return self._read()
        except UNREADABLE as error:
            raise CannotIssue(
                f"{self._folder}: {ISSUING_FILE} or {ISSUING_KEY_FILE} cannot be understood"
            ) from error

    def _read(self) -> _Loaded:
        """Raises CannotIssue, OSError, UNREADABLE."""
        try:
            pem = (self._folder / ISSUING_FILE).read_bytes()
            certificate = x509.load_pem_x509_certificate(pem)
            key = serialization.load_pem_private_key(
                read_private(self._folder / ISSUING_KEY_FILE), password=None
            )
        except (ValueError, TypeError) as error:
            raise CannotIssue(
                f"{self._folder}: {ISSUING_FILE} or {ISSUING_KEY_FILE} is not PEM"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CannotIssue(f"{self._folder / ISSUING_KEY_FILE}: not an elliptic-curve key")
        if key.public_key() != certificate.public_key():
            wrong = f"{ISSUING_KEY_FILE} is not the key of {ISSUING_FILE}"
            raise CannotIssue(f"{self._folder}: {wrong}")
        self._check_signs_hosts_only(certificate)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        names_it = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
        return _Loaded(certificate, pem, digest(certificates_in(pem)[0]), names_it, key)

    def _check_signs_hosts_only(self, certificate: x509.Certificate) -> None:
        """A key that could sign more does not belong on a controller. Raises CannotIssue."""
        try:
            found = certificate.extensions.get_extension_for_class(x509.NameConstraints)
        except x509.ExtensionNotFound:
            found = None
        permitted = found.value.permitted_subtrees if found and found.critical else None
        if list(permitted or ()) != [x509.DNSName(HOSTS_DOMAIN)]:
            raise CannotIssue(
                f"{self._folder / ISSUING_FILE} may sign more than certificates of hosts: make one "
                "with 'fleetctl certs issuing'"
            )


HOSTS_DOMAIN = dns_name(Role.AGENT, "").removeprefix(".")


def root_of(certificate: bytes, authorities: bytes) -> bytes:
    """The DER of the authority that has signed a certificate (PEM), or the last one that comes
    with it. Raises ValueError where none of these has."""
    signed = x509.load_pem_x509_certificates(certificate)[-1]
    for der in certificates_in(authorities):
        try:
            signed.verify_directly_issued_by(x509.load_der_x509_certificate(der))
        except (InvalidSignature, ValueError, TypeError):
            continue
        return der
    raise ValueError("no authority that is trusted here has signed it")


def utc_now() -> datetime:
    return datetime.now(UTC)
