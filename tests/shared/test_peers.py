"""Roles come from one well-formed DNS name of a certificate, and from nothing else."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from fleet.certificates.certificate import read_certificate
from fleet.peers import NoRole, is_name, parse_peer, peer_of
from fleet.transport import Peer, Role
from tests.certificates import authority, odd_identity

DNS, URI, MAIL = x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name


def certificate(names: Sequence[x509.GeneralName], subject: str = "x") -> bytes:
    return odd_identity(names, subject).certificate


def peer(pem: bytes) -> Peer:
    return peer_of({"x509_pem_cert": [pem]})


def test_one_name_of_our_domain_gives_its_role_whatever_else_the_server_is_called() -> None:
    names = [
        DNS("dom0.rack-7.agent.megafleet"),
        DNS("dom0-7.example.org"),
        x509.IPAddress(ipaddress.ip_address("10.0.0.7")),
    ]
    assert peer(certificate(names)) == Peer(Role.AGENT, "dom0.rack-7")


def test_controllers_carry_their_shared_name_besides() -> None:
    names = [DNS("c1.controller.megafleet"), DNS("controller.megafleet")]
    assert peer(certificate(names)) == Peer(Role.CONTROLLER, "c1")


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([DNS("www.operator")], "it has 'www.operator'"),
        ([MAIL("joe@mal.operator.megafleet")], "names of kind e-mail"),
        ([URI("http://mal.operator.megafleet")], "names of kind URI"),
        ([URI("mal.operator.megafleet")], "names of kind URI"),
        ([MAIL("mal.operator.megafleet")], "names of kind e-mail"),
        ([], "has no DNS name"),
        ([DNS("a.viewer.megafleet"), DNS("a.operator.megafleet")], "more than one holder"),
        ([DNS("a.agent.megafleet"), DNS("a.operator.megafleet")], "more than one holder"),
        ([DNS("a.agent.megafleet"), DNS("b.agent.megafleet")], "more than one holder"),
        ([DNS("a.operator.megafleet"), DNS("A.operator.megafleet")], "more than one holder"),
        ([DNS("a.operator.megafleet"), DNS("controller.megafleet")], "two roles"),
        ([DNS("controller.megafleet")], "has no DNS name"),
        ([DNS("Mal.OPERATOR.MEGAFLEET")], "gives no role"),
        ([DNS("mal.operator.MEGAFLEET")], "gives no role"),
        ([DNS("mal.operator.megafleet.")], "gives no role"),
        ([DNS("mal.operator.megafleet.evil.com")], "has no DNS name"),
        ([DNS("mal.operator.notmegafleet")], "has no DNS name"),
        ([DNS("x.controller.operator.megafleet")], "gives no role"),
        ([DNS("*.operator.megafleet")], "gives no role"),
        ([DNS("a/b\x1b[31m.operator.megafleet")], r"\\x1b\[31m"),
        ([DNS("operator/root.viewer.megafleet")], "gives no role"),
        ([DNS("mal\n.operator.megafleet")], "gives no role"),
        ([DNS("mal.operator.megafleet\n")], "has no DNS name"),
        ([DNS("mal.operator.megafleet\x00.evil.com")], "has no DNS name"),
        ([DNS(".operator.megafleet")], "gives no role"),
        ([DNS("operator.megafleet")], "gives no role"),
        ([DNS("mal.root.megafleet")], "gives no role"),
        ([DNS("-.operator.megafleet")], "gives no role"),
        ([DNS("x" * 201 + ".operator.megafleet")], "gives no role"),
    ],
)  # fmt: skip
def test_any_other_certificate_has_no_role_and_is_told_why(
    names: list[x509.GeneralName], why: str
) -> None:
    with pytest.raises(NoRole, match=why) as told:
        peer(certificate(names, "mal.operator.megafleet"))
    assert str(told.value).isprintable()


def test_what_is_no_certificate_has_no_role() -> None:
    with pytest.raises(NoRole, match="no certificate was shown"):
        peer_of({})
    with pytest.raises(NoRole, match="not PEM"):
        peer(b"rubbish")


@pytest.mark.parametrize("cut", range(0, 300, 7))
def test_a_certificate_that_is_cut_off_or_garbled_is_none(cut: int) -> None:
    whole = x509.load_pem_x509_certificate(certificate([DNS("a.operator.megafleet")]))
    der = whole.public_bytes(serialization.Encoding.DER)
    for bad in (der[:cut], der[:cut] + b"\xff\xff\xff" + der[cut + 3 :]):
        pem = b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(bad)
        try:
            found = read_certificate(pem + b"\n-----END CERTIFICATE-----\n")
        except ValueError:
            continue
        assert bad != der[:cut], "a part was taken for the whole"
        assert isinstance(found.dns_names, tuple)


@pytest.mark.parametrize("years", [1, 20, 24, 60])
def test_names_and_dates_are_read_as_the_library_reads_them(years: int) -> None:
    names = [DNS("a.viewer.megafleet"), DNS("b.example.org")]
    pem = odd_identity(names, until=timedelta(days=366 * years)).certificate
    found, library = read_certificate(pem), x509.load_pem_x509_certificate(pem)
    assert found.dns_names == ("a.viewer.megafleet", "b.example.org")
    assert found.not_before == library.not_valid_before_utc
    assert found.not_after == library.not_valid_after_utc


@pytest.mark.parametrize("role", list(Role))
def test_all_that_fleetctl_issues_is_read(role: Role) -> None:
    issued = authority().issue(role, "x1.site-2", ["10.0.0.1", "x1.example.org"])
    assert peer(issued.certificate) == Peer(role, "x1.site-2")


@pytest.mark.parametrize("text", ["", "operator", "operator/", "root/a", "operator/a/b", "agent/A"])
def test_a_caller_passed_on_is_of_a_role_and_well_named(text: str) -> None:
    assert parse_peer(text) is None
    assert parse_peer("agent/h1") == Peer(Role.AGENT, "h1")


PEOPLE = ["Jane_D", "jane.doe", "Jane.Doe@example.org", "j_d-2@corp", "_x"]


@pytest.mark.parametrize("name", PEOPLE)
def test_people_are_called_as_they_are_and_hosts_as_in_dns(name: str) -> None:
    for role in (Role.OPERATOR, Role.VIEWER):
        issued = authority().issue(role, name)
        assert peer(issued.certificate) == Peer(role, name)
        assert parse_peer(f"{role}/{name}") == Peer(role, name)
    if name == "jane.doe":
        return
    for role in (Role.AGENT, Role.CONTROLLER):
        assert not is_name(name, role) and parse_peer(f"{role}/{name}") is None
        with pytest.raises(NoRole, match="gives no role"):
            peer(certificate([DNS(f"{name}.{role}.megafleet")]))


@pytest.mark.parametrize(
    "name", ["a..b", "@x", "x@", "a.Operator", "a b", "a/b", "é", "a" * 66, "-x", ".x", "x.", "a+b"]
)
def test_what_could_be_misread_is_nobodys_name(name: str) -> None:
    assert not is_name(name, Role.OPERATOR)


def test_a_denial_holds_for_its_own_spelling_and_in_lower_case_for_all() -> None:
    assert Peer(Role.OPERATOR, "Eve_M").spellings == ("operator/Eve_M", "operator/eve_m")
    assert Peer(Role.OPERATOR, "eve").spellings == ("operator/eve",)


def test_a_holder_may_be_called_as_its_role_is() -> None:
    assert is_name("operator") and is_name("a.b") and not is_name("a.operator")
