"""Who answers at an endpoint, by what its server shows: asked without going on with it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from fleet.certificates.authorities import certificates_in, digest
from fleet.certificates.signing_request import checked, make_request, new_key
from fleet.transport import Identity, Role
from fleet_agent.joining import pinning
from fleet_agent.joining.pinning import NotReached, Stranger, authority_of
from fleetctl.local.certificate_authority import Authority
from tests.certificates import authority, identity
from tests.doubles.joining_hosts import issuer_in

Serve = Callable[[socket.socket], None]


@contextmanager
def answering(serve: Serve) -> Iterator[str]:
    """An endpoint at which one caller is served so."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    return showing(identity(Role.CONTROLLER, "c1"), tmp_path)


def showing(shown: Identity, folder: Path) -> ssl.SSLContext:
    """As a controller that machines join at: it shows its authorities too."""
    (folder / "key.pem").write_bytes(shown.key)
    (folder / "chain.pem").write_bytes(shown.certificate + shown.ca)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    return made


def serve_as(context: ssl.SSLContext) -> Serve:
    """Who only asks ends no handshake."""

    def serve(connection: socket.socket) -> None:
        with pytest.raises(OSError):
            context.wrap_socket(connection, server_side=True)

    return serve


def digest_of(one: Authority) -> bytes:
    return digest(certificates_in(one.certificate)[0])


def ask(endpoint: str, wanted: bytes | None = None) -> bytes:
    """For the tests' authority, unless another is wanted."""
    return asyncio.run(authority_of(endpoint, wanted or digest_of(authority())))


def test_who_only_asks_who_is_there_ends_no_handshake(context: ssl.SSLContext) -> None:
    """So the server makes no connection of it that it would serve."""
    ended: list[str] = []

    def serve(connection: socket.socket) -> None:
        try:
            context.wrap_socket(connection, server_side=True)
        except OSError as error:
            ended.append(type(error).__name__)

    with answering(serve) as endpoint:
        assert ask(endpoint) == authority().certificate
    assert len(ended) == 1


def test_a_server_of_the_tls_before_is_asked_as_well(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def serve(connection: socket.socket) -> None:
        context.wrap_socket(connection, server_side=True).close()

    with answering(serve) as endpoint:
        assert ask(endpoint) == authority().certificate


def test_one_with_another_authority_is_a_stranger(context: ssl.SSLContext) -> None:
    with (
        answering(serve_as(context)) as endpoint,
        pytest.raises(Stranger, match="is no controller of the"),
    ):
        ask(endpoint, bytes(32))


@cache
def following() -> Authority:
    """The next one: of the same name."""
    return Authority.create("Test")


def replaced(*, by: Authority, shown: Sequence[Authority]) -> Identity:
    own = by.identity(Role.CONTROLLER, "c1")
    return Identity(b"".join(one.certificate for one in shown), own.certificate, own.key)


@pytest.mark.parametrize("now_first", [True, False])
def test_while_an_authority_is_replaced_the_token_is_for_who_has_signed_what_is_shown(
    tmp_path: Path, *, now_first: bool
) -> None:
    both = [authority(), following()]
    both = both if now_first else both[::-1]
    # Before `reissue`, and after it.
    before = showing(replaced(by=authority(), shown=both), tmp_path)
    with answering(serve_as(before)) as endpoint:
        assert ask(endpoint) == authority().certificate
    after = showing(replaced(by=following(), shown=both), tmp_path)
    with answering(serve_as(after)) as endpoint:
        assert ask(endpoint, digest_of(following())) == following().certificate
    with (
        answering(serve_as(after)) as endpoint,
        pytest.raises(Stranger, match="its authority is being replaced, ask for another token"),
    ):
        ask(endpoint)


def test_a_certificate_by_one_that_the_authority_has_signed_is_below_it(tmp_path: Path) -> None:
    key = new_key()
    made = issuer_in(tmp_path).issue(checked(make_request("h1", key)), datetime.now(UTC))
    assert len(certificates_in(made)) == 2
    both = following().certificate + authority().certificate
    context = showing(Identity(both, made, key), tmp_path)
    with answering(serve_as(context)) as endpoint:
        assert ask(endpoint) == authority().certificate
    with (
        answering(serve_as(context)) as endpoint,
        pytest.raises(Stranger, match="ask for another token"),
    ):
        ask(endpoint, digest_of(following()))


def drip(connection: socket.socket) -> None:
    """One byte of a TLS record after another, for ever."""
    connection.settimeout(0.05)
    record = iter(b"\x16\x03\x03\x40\x00" + bytes(16_384))
    for byte in record:
        try:
            connection.sendall(bytes([byte]))
            connection.recv(1024)
        except TimeoutError:
            continue
        except OSError:
            return


def keep_silent(connection: socket.socket) -> None:
    while connection.recv(1024):
        pass


def hang_up(connection: socket.socket) -> None:
    connection.recv(1024)


def say_something_else(connection: socket.socket) -> None:
    connection.recv(1024)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize("serve", [drip, keep_silent, hang_up, say_something_else])
def test_who_shows_no_certificate_is_nobody_and_keeps_nobody_waiting(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinning, "SECONDS", 0.5)
    with answering(serve) as endpoint, pytest.raises(NotReached, match="nobody answers at 127"):
        ask(endpoint)
