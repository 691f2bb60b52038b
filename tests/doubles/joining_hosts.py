"""What a machine sends to join, and what a leader signs with, for tests."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fleet.certificates.host_issuer import HostIssuer
from fleet.certificates.join_token import JoinToken
from fleet.certificates.signing_request import SigningRequest, make_request, new_key
from fleet.v1 import joining_pb2 as joining
from fleetctl.local.certificate_authority import write_issuing
from tests.certificates import authority

SECRET = bytes(range(20))


class PresentIssuer(HostIssuer):
    """Signs as of now, whatever time the leader lives in."""

    def issue(self, request: SigningRequest, now: datetime) -> bytes:
        return super().issue(request, datetime.now(UTC))


def issuing_folder(folder: Path) -> Path:
    """An issuing key of the tests' authority."""
    write_issuing(folder, authority().issue_issuing(timedelta(days=30)))
    return folder


def issuer_in(folder: Path) -> PresentIssuer:
    return PresentIssuer(
        issuing_folder(folder), lambda: authority().certificate, timedelta(days=14)
    )


def token_request(
    token_id: str = "abcd2345", *, uses: int = 1, ttl: float = 3600.0, **limits: object
) -> joining.CreateTokenRequest:
    token = joining.Token(id=token_id, max_uses=uses, **limits)  # type: ignore[arg-type]
    return joining.CreateTokenRequest(
        token=token, secret_hash=hashlib.sha256(SECRET).digest(), ttl_seconds=ttl
    )


def join_request(
    host: str, clock: float, *, key: bytes = b"", token_id: str = "abcd2345", secret: bytes = SECRET
) -> joining.JoinRequest:
    return joining.JoinRequest(
        token_id=token_id,
        secret=secret,
        signing_request=make_request(host, key or new_key()),
        clock_unix=clock,
    )


def a_token() -> JoinToken:
    return JoinToken("abcd2345", SECRET, bytes(range(32)))
