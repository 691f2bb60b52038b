"""Who answers at an endpoint, by what its server shows: asked without going on with it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet.certificates.authorities import certificates_in, digest
from fleet.transport import Role
from fleet_agent.joining import pinning
from fleet_agent.joining.pinning import NotReached, Stranger, authority_of
from tests.certificates import authority, identity

WANTED = digest(certificates_in(authority().certificate)[0])
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
    """As a controller that machines join at: it shows its authority too."""
    shown = identity(Role.CONTROLLER, "c1")
    (tmp_path / "key.pem").write_bytes(shown.key)
    (tmp_path / "chain.pem").write_bytes(shown.certificate + shown.ca)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    return made


def ask(endpoint: str, wanted: bytes = WANTED) -> bytes:
    return asyncio.run(authority_of(endpoint, wanted))


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
    def serve(connection: socket.socket) -> None:
        with pytest.raises(OSError):
            context.wrap_socket(connection, server_side=True)

    with answering(serve) as endpoint, pytest.raises(Stranger, match="is no controller of the"):
        ask(endpoint, bytes(32))


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
