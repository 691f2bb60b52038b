"""A machine joins at whichever controller answers; one that is a stranger is only one of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleet.certificates.authorities import certificates_in, digest
from fleet.certificates.host_issuer import HostIssuer
from fleet.certificates.join_token import JoinToken
from fleet.certificates.signing_request import checked, new_key
from fleet.v1 import joining_pb2 as wire
from fleet_agent.joining import joining
from fleet_agent.joining.joining import JoinFailed, JoinRefused, Machine, join
from fleet_agent.joining.pinning import NotReached, Stranger
from fleet_agent.joining.token_sources import Invitation
from tests.certificates import authority
from tests.doubles.joining_hosts import issuer_in

MACHINE = Machine("h1", new_key(), "", "1")


class Controllers:
    """By endpoint: what comes of asking. `good` signs."""

    def __init__(self, issuer: HostIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.issuer = issuer
        self.asked: list[str] = []
        monkeypatch.setattr(joining, "authority_of", self._authority_of)
        monkeypatch.setattr(joining, "_call", self._call)

    async def _authority_of(self, endpoint: str, wanted: bytes) -> bytes:
        self.asked.append(endpoint)
        if endpoint.startswith("stranger"):
            raise Stranger(f"{endpoint} is no controller of the cluster")
        if endpoint.startswith("silent"):
            raise NotReached(f"nobody answers at {endpoint}")
        return authority().certificate

    async def _call(
        self, endpoint: str, authorities: bytes, request: wire.JoinRequest
    ) -> wire.JoinResponse:
        made = self.issuer.issue(checked(request.signing_request), datetime.now(UTC))
        return wire.JoinResponse(certificates=made, authorities=authorities)


def invited(*controllers: str) -> Invitation:
    (der,) = certificates_in(authority().certificate)
    return Invitation(JoinToken("id", b"secret", digest(der)), controllers)


@pytest.fixture
def controllers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Controllers:
    return Controllers(issuer_in(tmp_path), monkeypatch)


async def test_a_stranger_among_controllers_keeps_nobody_from_joining(
    controllers: Controllers,
) -> None:
    joined = await join(invited("stranger:1", "silent:1", "good:1", "good:2"), MACHINE)
    assert joined.host == "h1" and controllers.asked == ["stranger:1", "silent:1", "good:1"]


async def test_where_one_may_answer_later_it_is_tried_again(controllers: Controllers) -> None:
    with pytest.raises(JoinFailed, match=r"stranger:1 is no controller .*; nobody answers at sil"):
        await join(invited("stranger:1", "silent:1"), MACHINE)


async def test_where_all_are_strangers_it_is_refused_and_all_are_named(
    controllers: Controllers,
) -> None:
    with pytest.raises(JoinRefused, match=r"stranger:1 is .*; stranger:2 is no controller"):
        await join(invited("stranger:1", "stranger:2"), MACHINE)
