"""What a machine may ask to be signed, and what is signed then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from fleet.certificates.authorities import as_pem, certificates_in
from fleet.certificates.certificate import read_certificate
from fleet.certificates.host_issuer import CannotIssue, HostIssuer
from fleet.certificates.signing_request import BadRequest, checked, make_request, new_key
from fleet.transport import Role
from fleetctl.local.certificate_authority import Authority, AuthorityError
from fleetctl.local.key_files import write_private
from tests.certificates import authority
from tests.doubles.joining_hosts import issuer_in

NAME = x509.DNSName("h1.agent.megafleet")
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def request(
    names: Sequence[x509.GeneralName] = (NAME,),
    *more: x509.ExtensionType,
    key: Key | None = None,
) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in more:
        builder = builder.add_extension(extension, critical=False)
    own = key or ec.generate_private_key(ec.SECP256R1())
    digest = None if isinstance(own, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(own, digest).public_bytes(serialization.Encoding.DER)


def test_a_request_names_one_host_and_its_key() -> None:
    key = new_key()
    asked = checked(make_request("dom0-1", key))
    assert asked.host == "dom0-1"
    assert asked.key_digest == checked(make_request("dom0-1", key)).key_digest
    assert asked.key_digest != checked(make_request("dom0-1", new_key())).key_digest
    assert checked(request(key=ec.generate_private_key(ec.SECP384R1()))).host == "h1"


@pytest.mark.parametrize(
    ("der", "said"),
    [
        (b"rubbish", "cannot be read"),
        (b"x" * 5000, "at most 4,096 bytes"),
        (request([]), "names 0 holders"),
        (request([NAME, x509.DNSName("h2.agent.megafleet")]), "names 2 holders"),
        (request([NAME, x509.DNSName("example.org")]), "names 2 holders"),
        (request([x509.RFC822Name("h1.agent.megafleet")]), "names 1 holders"),
        (request([x509.DNSName("h1.operator.megafleet")]), "is not <host>.agent.megafleet"),
        (request([x509.DNSName("h1.controller.agent.megafleet")]), "is not <host>"),
        (request([x509.DNSName("*.agent.megafleet")]), "is not <host>"),
        (request([x509.DNSName("H1.agent.megafleet")]), "is not <host>"),
        (request([NAME], x509.BasicConstraints(ca=True, path_length=None)), "for an authority"),
        (request([NAME], x509.BasicConstraints(ca=False, path_length=None)), "more than a name"),
        (request([NAME], x509.OCSPNoCheck()), "more than a name"),
        (request(key=rsa.generate_private_key(65537, 1024)), "P-256 or P-384"),
        (request(key=rsa.generate_private_key(65537, 2048)), "P-256 or P-384"),
        (request(key=ec.generate_private_key(ec.SECP224R1())), "P-256 or P-384"),
        (request(key=ed25519.Ed25519PrivateKey.generate()), "P-256 or P-384"),
    ],
)  # fmt: skip
def test_a_request_that_asks_for_more_is_refused(der: bytes, said: str) -> None:
    with pytest.raises(BadRequest) as bad:
        checked(der)
    assert said in str(bad.value)


def test_whatever_else_it_says_a_request_is_read_or_refused() -> None:
    """Each byte of one as something else: the version of a request is one, and its key."""
    der = make_request("h1", new_key())
    for at in range(len(der)):
        changed = bytearray(der)
        changed[at] ^= 0x55
        with pytest.raises(BadRequest):
            checked(bytes(changed))


def test_a_request_that_was_changed_on_its_way_is_refused() -> None:
    der = make_request("h1", new_key())
    at = der.index(b"h1.agent")
    with pytest.raises(BadRequest, match="not signed by its own key"):
        checked(der[:at] + b"h2" + der[at + 2 :])


def test_what_is_signed_ends_with_the_issuing_certificate(tmp_path: Path) -> None:
    issuer, now = issuer_in(tmp_path), datetime.now(UTC)
    asked = checked(make_request("h1", new_key()))
    short = HostIssuer(tmp_path, lambda: authority().certificate, timedelta(days=400))
    until = read_certificate(short.issue(asked, now)).not_after
    assert until == issuer.expires
    with pytest.raises(CannotIssue, match="make another with 'fleetctl cluster renew'"):
        short.issue(asked, now + timedelta(days=31))


def test_an_issuing_key_that_was_replaced_is_taken_into_use(tmp_path: Path) -> None:
    issuer = issuer_in(tmp_path)
    before = issuer.trust
    issuer_in(tmp_path)
    assert issuer.trust.issuing != before.issuing
    assert issuer.trust.authorities == before.authorities


def test_half_of_an_issuing_key_changes_nothing(tmp_path: Path) -> None:
    issuer = issuer_in(tmp_path)
    before = issuer.trust
    write_private(tmp_path / "issuing-key.pem", new_key())
    assert issuer.trust == before
    assert issuer.issue(checked(make_request("h1", new_key())), datetime.now(UTC))


def test_whatever_becomes_of_its_file_an_issuer_goes_on_with_what_it_has(tmp_path: Path) -> None:
    issuer = issuer_in(tmp_path)
    file, before = tmp_path / "issuing.pem", issuer.trust
    pem = file.read_bytes()
    der = certificates_in(pem)[0]
    for at in range(0, len(der), 3):
        changed = bytearray(der)
        changed[at] ^= 0x55
        file.write_bytes(as_pem(bytes(changed)) + b"\n" * at)
        assert issuer.trust.authorities == before.authorities


def test_a_key_that_could_sign_more_is_refused(tmp_path: Path) -> None:
    root = Authority.create("root")
    root.save(tmp_path)
    (tmp_path / "ca.pem").rename(tmp_path / "issuing.pem")
    (tmp_path / "ca-key.pem").rename(tmp_path / "issuing-key.pem")
    with pytest.raises(CannotIssue, match="may sign more than certificates of hosts"):
        HostIssuer(tmp_path, bytes, timedelta(days=1))


def test_an_authority_that_may_have_none_below_it_says_so() -> None:
    leaf_only = Authority.create("old", path_length=0)
    with pytest.raises(AuthorityError, match="certs rotate"):
        leaf_only.issue_issuing(timedelta(days=1))
    assert leaf_only.issue(Role.AGENT, "h1").certificate
