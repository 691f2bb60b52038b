"""HOST:PORT is read alike by all programs; what cannot be meant is refused with what to write."""

from __future__ import annotations

import pytest

from fleet.endpoints import BadEndpoint, dialled, is_every_address, listened, target


@pytest.mark.parametrize(
    "text", ["h:1", "[::1]:7440", "a.example.org:65535", "192.0.2.1:7440", "[fe80::1%eth0]:7440"]
)
def test_what_can_be_dialled_can_be_listened_on(text: str) -> None:
    assert (dialled(text), listened(text)) == (text, text)


@pytest.mark.parametrize("text", ["0.0.0.0:7440", "[::]:7440"])
def test_every_address_is_for_listening_alone(text: str) -> None:
    assert listened(text) == text
    assert is_every_address(text)
    with pytest.raises(BadEndpoint, match="cannot be dialled"):
        dialled(text)


def test_port_0_is_for_listening_alone() -> None:
    assert listened("127.0.0.1:0") == "127.0.0.1:0"
    with pytest.raises(BadEndpoint, match="a port is a number from 1 to 65535"):
        dialled("127.0.0.1:0")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("127.0.0.1", "it has no port"),
        ("", "it has no port"),
        ("[::1]", "it has no port"),
        ("::1:2379", r"write an IPv6 address in brackets, such as \[2001:db8::1\]:7440"),
        ("::1", "in brackets"),
        ("h:65536", "a port is a number"),
        ("h:x", "a port is a number"),
        ("h:", "a port is a number"),
        ("h:٣", "a port is a number"),
        (":7440", "it has no host"),
        ("999.0.0.1:1", "neither an address nor the name of a host"),
        ("[1.2.3.4]:1", "neither an address"),
        ("[::1:1", "neither an address"),
        ("a b:1", "neither an address"),
        ("h/x:1", "neither an address"),
        ("http://h:1", "it is a URL"),
        ("h:1\n", "a port is a number"),
    ],
)
def test_what_is_none_is_refused_with_the_reason(text: str, why: str) -> None:
    for read in (listened, dialled):
        with pytest.raises(BadEndpoint, match=why) as told:
            read(text)
        assert "is not HOST:PORT" in str(told.value)


@pytest.mark.parametrize(
    ("endpoint", "named"),
    [
        ("192.0.2.7:7440", "ipv4:192.0.2.7:7440"),
        ("[2001:db8::1]:7440", "ipv6:[2001:db8::1]:7440"),
        ("dom0-7.example:7440", "dns:///dom0-7.example:7440"),
        ("7.example:7440", "dns:///7.example:7440"),
    ],
)
def test_only_a_name_is_looked_up(endpoint: str, named: str) -> None:
    assert dialled(endpoint) == endpoint and target(endpoint) == named


@pytest.mark.parametrize("text", ["999.0.0.1:1", "192.0.2.7:65536", "[zz]:1", "unix:/run/x", ""])
def test_what_is_none_is_looked_up_in_vain(text: str) -> None:
    assert target(text) == f"dns:///{text}"
