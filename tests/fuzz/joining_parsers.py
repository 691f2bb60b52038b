"""The parsers that read what machines without a certificate say, and tokens as they are stored."""

from __future__ import annotations

from fleet.certificates.join_token import BadToken, JoinToken
from fleet.certificates.signing_request import BadRequest, checked, make_request, new_key
from fleet_controller.api.join_server import address_of
from fleet_controller.core.joining.admission import check_use, neighbourhood
from fleet_controller.core.joining.records import JoinedRecord, TokenRecord
from fleet_controller.core.refusals import Refused
from fleet_controller.joining.tokens import described, wire_token
from fleet_controller.store.codec import BrokenRecord, decode, encode

_HASH = "ab" * 32
TOKEN = JoinToken("abcd2345", bytes(20), bytes(32)).text.encode()
REQUESTS = (make_request("dom0-1", new_key()), make_request("a.b", new_key()))
RECORDS = (
    encode(
        TokenRecord(
            "abcd2345", _HASH, 1.0, 2.0, 3, 1, ("dom0-*",), ("10.0.0.0/8",), {"rack": "r1"}, True,
            "operator/me",
        )
    ),
    encode(JoinedRecord("h1", "abcd2345", _HASH, 1.0, "10.0.0.1", True)),
)  # fmt: skip
PEERS = (b"ipv4:10.0.0.1:1", b"ipv6:%5Bfe80::1%25eth0%5D:1", b"ipv6:[::ffff:10.0.0.1]:1")


def signing_request(data: bytes) -> None:
    try:
        assert checked(data).host
    except BadRequest as error:
        assert str(error).isprintable()


def join_token(data: bytes) -> None:
    try:
        JoinToken.parse(data.decode("latin-1"))
    except BadToken as error:
        str(error)


def stored_token(data: bytes) -> None:
    """Whatever people write into the store, a machine joins by it or is told why not."""
    for kind in (TokenRecord, JoinedRecord):
        try:
            read = decode(kind, "fuzzed", data)
        except BrokenRecord as error:
            str(error)
            continue
        if isinstance(read, TokenRecord):
            described(read)
            wire_token(read)
            try:
                check_use(read, "dom0-1", "10.0.0.1", 1.5, more=True)
            except Refused as refused:
                str(refused)


def caller_address(data: bytes) -> None:
    """As gRPC names who calls."""
    text = data.decode("latin-1")
    neighbourhood(address_of(text))
    neighbourhood(text)
