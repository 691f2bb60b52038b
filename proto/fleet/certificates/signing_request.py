"""A host's request for a certificate (PKCS #10): how it is made, and what one may ask for.

Whoever signs takes the name and the key from a request and nothing else. All the same a request
that asks for more is refused as a whole: it was not made by an agent.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleet.peers import is_name
from fleet.transport import DOMAIN, Role, dns_name

# One of ours has some 250 bytes.
MAX_BYTES = 4096
# What cryptography raises for what it cannot read.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    InvalidSignature,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_SUFFIX = f".{Role.AGENT}.{DOMAIN}"


class BadRequest(ValueError):
    """What is wrong with a request; one sentence."""


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """`host`: the one name that it asks for. `key_digest`: SHA-256 of the public key, in hex."""

    host: str
    public_key: ec.EllipticCurvePublicKey
    key_digest: str


def new_key() -> bytes:
    """A private key, PEM."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def make_request(host: str, key: bytes) -> bytes:
    """DER. `key`: PEM. Raises ValueError for a key that is none of elliptic curves."""
    private = serialization.load_pem_private_key(key, password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ValueError("it is no key of an elliptic curve")
    name = x509.SubjectAlternativeName([x509.DNSName(dns_name(Role.AGENT, host))])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.add_extension(name, critical=False).sign(private, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def checked(der: bytes) -> SigningRequest:
    """Raises BadRequest."""
    if len(der) > MAX_BYTES:
        raise BadRequest(f"a signing request has at most {MAX_BYTES:,} bytes, not {len(der):,}")
    try:
        request = x509.load_der_x509_csr(der)
        key = request.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
            # Before its signature is checked: keys of other kinds can be made to take long.
            raise BadRequest(
                "the key of a host is of an elliptic curve, P-256 or P-384, and no other"
            )
        if not request.is_signature_valid:
            raise BadRequest("the signing request is not signed by its own key")
        host = _only_host(request.extensions)
    except BadRequest:
        raise
    except UNREADABLE as error:
        raise BadRequest(f"the signing request cannot be read: {str(error)[:100]}") from error
    encoded = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return SigningRequest(host, key, hashlib.sha256(encoded).hexdigest())


def _only_host(extensions: x509.Extensions) -> str:
    """Raises BadRequest."""
    names: list[x509.GeneralName] = []
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise BadRequest("the signing request asks for an authority: a host gets none")
        if not isinstance(value, x509.SubjectAlternativeName):
            raise BadRequest(
                f"the signing request asks for more than a name ({extension.oid.dotted_string})"
            )
        names.extend(value)
    if len(names) != 1 or not isinstance(names[0], x509.DNSName):
        raise BadRequest(
            f"the signing request names {len(names)} holders: it must name one, by its DNS name"
        )
    name = names[0].value
    host = name.removesuffix(_SUFFIX)
    if host == name or not is_name(host):
        raise BadRequest(f"{name[:80]!a} is not <host>{_SUFFIX}")
    return host


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
