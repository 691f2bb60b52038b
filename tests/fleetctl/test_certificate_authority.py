"""The authority: who a certificate says it is, what is refused, how files are kept."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from fleet.peers import peer_of
from fleet.transport import CONTROLLER_NAME, Identity, Peer, Role, channel_options
from fleetctl.local.certificate_authority import Authority, AuthorityError, write_identity
from tests.certificates import authority, identity


def names_in(certificate: bytes) -> list[str]:
    parsed = x509.load_pem_x509_certificate(certificate)
    extension = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(name.value) for name in extension.value]


@pytest.mark.parametrize("role", list(Role))
def test_a_certificate_names_role_and_holder(role: Role) -> None:
    issued = authority().issue(role, "dom0.rack-7")
    assert peer_of({"x509_pem_cert": [issued.certificate]}) == Peer(role, "dom0.rack-7")


def test_controllers_also_answer_to_the_clusters_name_and_to_addresses() -> None:
    issued = authority().issue(Role.CONTROLLER, "c1", ["127.0.0.1", "ctl.example.org", "::1"])
    assert names_in(issued.certificate) == [
        "c1.controller.megafleet",
        CONTROLLER_NAME,
        "127.0.0.1",
        "ctl.example.org",
        "::1",
    ]


@pytest.mark.parametrize(
    "name",
    ["", "Upper", "a b", "a/b", "..", "a..b", "-a", "a@b", "a\n", "x" * 201, "*", "x.operator"],
)
def test_names_that_are_no_names_are_refused(name: str) -> None:
    with pytest.raises(AuthorityError):
        authority().issue(Role.AGENT, name)


def test_a_second_identity_is_refused() -> None:
    with pytest.raises(AuthorityError, match="second identity"):
        authority().issue(Role.AGENT, "h1", ["alice.operator.megafleet"])


def test_validity_is_what_was_asked_for() -> None:
    issued = authority().issue(Role.VIEWER, "bob", valid=timedelta(hours=1))
    until = x509.load_pem_x509_certificate(issued.certificate).not_valid_after_utc
    assert timedelta(minutes=58) < until - datetime.now(UTC) <= timedelta(hours=1)


def test_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    made = Authority.create()
    made.save(tmp_path / "ca")
    write_identity(tmp_path / "me", made.identity(Role.OPERATOR, "alice"))
    for key in (tmp_path / "ca" / "ca-key.pem", tmp_path / "me" / "key.pem"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_saved_authority_goes_on_signing(tmp_path: Path) -> None:
    Authority.create("Site").save(tmp_path)
    again = Authority.load(tmp_path)
    assert again.certificate == (tmp_path / "ca.pem").read_bytes()
    issued = again.issue(Role.OPERATOR, "alice")
    x509.load_pem_x509_certificate(issued.certificate).verify_directly_issued_by(
        x509.load_pem_x509_certificate(again.certificate)
    )


def test_a_missing_authority_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(AuthorityError, match="certs init"):
        Authority.load(tmp_path)


def test_an_authority_that_is_not_pem_is_refused(tmp_path: Path) -> None:
    Authority.create().save(tmp_path)
    (tmp_path / "ca.pem").write_bytes(b"junk")
    with pytest.raises(AuthorityError, match="not PEM"):
        Authority.load(tmp_path)


def test_the_key_of_another_authority_is_refused(tmp_path: Path) -> None:
    Authority.create().save(tmp_path)
    Authority.create().save(tmp_path / "other")
    (tmp_path / "other" / "ca-key.pem").replace(tmp_path / "ca-key.pem")
    with pytest.raises(AuthorityError, match="is not the key"):
        Authority.load(tmp_path)


async def handshake(server: Identity, client: Identity, expected: str) -> None:
    """Serve and connect with these identities. Raises TimeoutError when TLS is refused."""
    listening = grpc.aio.server()
    port = listening.add_secure_port("127.0.0.1:0", server.for_server())
    await listening.start()
    channel = grpc.aio.secure_channel(
        f"127.0.0.1:{port}", client.for_channel(), options=channel_options(expected)
    )
    try:
        async with channel:
            state = channel.get_state(try_to_connect=True)
            while state is not grpc.ChannelConnectivity.READY:
                if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    raise ConnectionError("refused")
                await channel.wait_for_state_change(state)
                state = channel.get_state()
    finally:
        await listening.stop(None)


async def test_parties_of_one_authority_meet_and_strangers_do_not() -> None:
    server = identity(Role.CONTROLLER, "c1")
    await handshake(server, identity(Role.OPERATOR, "alice"), CONTROLLER_NAME)
    await handshake(server, identity(Role.OPERATOR, "alice"), "c1.controller.megafleet")
    with pytest.raises(ConnectionError):
        await handshake(server, identity(Role.OPERATOR, "alice"), "c2.controller.megafleet")
    stranger = Authority.create("Other").identity(Role.CONTROLLER, "c1")
    with pytest.raises(ConnectionError):
        await handshake(stranger, identity(Role.OPERATOR, "alice"), CONTROLLER_NAME)
