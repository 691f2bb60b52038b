"""A small certificate authority: one CA, and certificates that name a role and its holder.

Keys are EC P-256: some 50 us to make, and a handshake far cheaper than RSA's. A certificate
says who holds it by the DNS name `<name>.<role>.megafleet` (see fleet.transport), never by its
subject, which is there for people to read.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleet.certificates.host_issuer import HOSTS_DOMAIN, ISSUING_FILE, ISSUING_KEY_FILE
from fleet.peers import MAX_HOLDER_LENGTH, is_name
from fleet.private_file import read_private
from fleet.transport import CONTROLLER_NAME, DOMAIN, Identity, Role, dns_name
from fleetctl.local.key_files import write_private, write_public

CA_FILE, CA_KEY_FILE = "ca.pem", "ca-key.pem"
CERT_FILE, KEY_FILE = "cert.pem", "key.pem"

CA_VALID = timedelta(days=3650)
VALID = timedelta(days=365)
# Clocks of hosts differ: a certificate is good from a little before it was made.
CLOCK_SKEW = timedelta(minutes=10)

# Agents and controllers both serve and call; people only call.
_SERVES = frozenset({Role.CONTROLLER, Role.AGENT})

# Names below this one, and no IP addresses: nothing else is believed of what it signs.
_HOSTS_ONLY = x509.NameConstraints(
    permitted_subtrees=[x509.DNSName(HOSTS_DOMAIN)],
    excluded_subtrees=[
        x509.IPAddress(ipaddress.ip_network("0.0.0.0/0")),
        x509.IPAddress(ipaddress.ip_network("::/0")),
    ],
)


class AuthorityError(Exception):
    """A certificate cannot be made or an authority not be read: one sentence that says why."""


class Issued(NamedTuple):
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA that is able to sign. `certificate` is its own, PEM: what every party trusts."""

    certificate: bytes
    _key: ec.EllipticCurvePrivateKey
    _subject: x509.Name
    _key_identifier: x509.AuthorityKeyIdentifier

    @classmethod
    def create(
        cls, name: str = "Megafleet", valid: timedelta = CA_VALID, path_length: int = 1
    ) -> Authority:
        """A new CA, in memory only. `path_length`: how many may stand below it, one upon another:
        the issuing certificate, by which controllers sign those of hosts."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} CA")])
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            _unsigned(subject, subject, key.public_key(), valid)
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(identifier, critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls._of(certificate, key)

    @classmethod
    def load(cls, folder: Path) -> Authority:
        """From ca.pem and ca-key.pem. Raises AuthorityError naming the file."""
        certificate_file, key_file = folder / CA_FILE, folder / CA_KEY_FILE
        try:
            certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
            key = serialization.load_pem_private_key(read_private(key_file), password=None)
        except OSError as error:
            if error.errno is None:  # others may read it
                raise AuthorityError(str(error)) from error
            raise AuthorityError(
                f"no certificate authority in {folder}: {error.filename}: {error.strerror}; "
                f"make one with 'fleetctl certs init'"
            ) from error
        except (ValueError, TypeError) as error:
            raise AuthorityError(f"{folder}: {CA_FILE} or {CA_KEY_FILE} is not PEM") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise AuthorityError(f"{key_file}: not an elliptic-curve key")
        if key.public_key() != certificate.public_key():
            raise AuthorityError(f"{folder}: {CA_KEY_FILE} is not the key of {CA_FILE}")
        return cls._of(certificate, key)

    @classmethod
    def _of(cls, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Authority:
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        return cls(
            certificate.public_bytes(serialization.Encoding.PEM),
            key,
            certificate.subject,
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
        )

    def save(self, folder: Path) -> None:
        """Writes ca.pem and ca-key.pem (0600), making the folder. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(folder / CA_KEY_FILE, _pem(self._key))
        write_public(folder / CA_FILE, self.certificate)

    def issue(
        self, role: Role, name: str, extra_names: Sequence[str] = (), valid: timedelta = VALID
    ) -> Issued:
        """A certificate for a holder. `extra_names` are further DNS names and IP addresses.

        Raises AuthorityError for a name that is not one, and for extra names in our own
        domain: they would be another identity.
        """
        check_holder(name, role)
        names = [dns_name(role, name)]
        if role is Role.CONTROLLER:
            names.append(CONTROLLER_NAME)
        return self._signed(f"{role} {name}", names, extra_names, valid, serves=role in _SERVES)

    def issue_server(
        self, name: str, extra_names: Sequence[str], valid: timedelta = VALID
    ) -> Issued:
        """A certificate without a role, for a server that is none of ours, such as etcd."""
        return self._signed(name, [], extra_names, valid, serves=True)

    def issue_client(self, name: str, valid: timedelta = VALID) -> Issued:
        """A certificate without a role, for a client of etcd, which takes the name for a user's."""
        return self._signed(name, [], [f"{name}.client.etcd"], valid, serves=False)

    def issue_issuing(self, valid: timedelta) -> Issued:
        """A certificate that can sign those of hosts and no others, and its key. Raises
        AuthorityError for an authority that may have none below it."""
        own = x509.load_pem_x509_certificate(self.certificate)
        if own.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0:
            raise AuthorityError(
                "this authority was made for no other below it: replace it by one that is "
                "('fleetctl certs rotate')"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Megafleet hosts")])
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            _unsigned(subject, self._subject, key.public_key(), valid)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(_HOSTS_ONLY, critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(self._key_identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Issued(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))

    def identity(
        self, role: Role, name: str, extra_names: Sequence[str] = (), valid: timedelta = VALID
    ) -> Identity:
        """What a party of this role needs: the CA, its certificate and its key."""
        issued = self.issue(role, name, extra_names, valid)
        return Identity(self.certificate, issued.certificate, issued.key)

    def _signed(
        self, subject: str, ours: list[str], extra: Sequence[str], valid: timedelta, *, serves: bool
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        holder = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject[:64])])
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if serves:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        names = [x509.DNSName(name) for name in ours]
        certificate = (
            _unsigned(holder, self._subject, key.public_key(), valid)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([*names, *map(general_name, extra)]), critical=False
            )
            .add_extension(self._key_identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Issued(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def write_identity(folder: Path, identity: Identity) -> None:
    """Writes ca.pem, cert.pem and key.pem (0600), as Identity.load reads them. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(folder / KEY_FILE, identity.key)
    write_public(folder / CERT_FILE, identity.certificate)
    write_public(folder / CA_FILE, identity.ca)


def write_issuing(folder: Path, issued: Issued) -> None:
    """Writes issuing.pem and issuing-key.pem (0600), as controllers read them. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(folder / ISSUING_KEY_FILE, issued.key)
    write_public(folder / ISSUING_FILE, issued.certificate)


def check_holder(name: str, role: Role | None = None) -> None:
    """Raises AuthorityError for what no certificate may name."""
    if not is_name(name, role):
        raise AuthorityError(
            f"{name[:60]!r} cannot be in a certificate: a name is lower-case letters, digits, "
            "hyphens and dots, as in DNS, a person's also capitals, underscores and @, at most "
            f"{MAX_HOLDER_LENGTH} characters, and does not end in a dot and a role"
        )


def general_name(name: str) -> x509.GeneralName:
    """A further one, beside whom a certificate names. Raises AuthorityError."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        check_holder(name)
    if name == DOMAIN or name.endswith(f".{DOMAIN}"):
        raise AuthorityError(f"{name!r} would be a second identity: {DOMAIN} names are ours alone")
    return x509.DNSName(name)


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, valid: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + valid)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
