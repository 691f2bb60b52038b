"""A party's certificate as its files have it by now: taken into use without a restart.

A connection that stands is not looked at again: it goes on until somebody ends it. Each new one,
made or accepted, is with what the files say then. Files that do not fit one another, as while they
are being copied, change nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from fleet.certificates.authorities import certificates_in
from fleet.certificates.certificate import read_certificate
from fleet.certificates.file_stamp import Stamp, stamp_of
from fleet.transport import Identity

_FILES = ("ca.pem", "cert.pem", "key.pem")
_Configured = Callable[[Identity], grpc.ServerCertificateConfiguration]


class LiveIdentity:
    """Of a folder with ca.pem, cert.pem and key.pem."""

    def __init__(self, folder: Path, changed: Callable[[str], None] = lambda news: None) -> None:
        """`changed` is told, in words, what was taken into use or was not; from any thread. Raises
        OSError as Identity.load."""
        self.folder = folder
        self._files = tuple(str(folder / name) for name in _FILES)  # looked at for each handshake
        self._changed = changed
        self._stamp = self._present()
        self._identity = Identity.load(folder)
        self._channel: tuple[Identity, grpc.ChannelCredentials] | None = None

    @property
    def current(self) -> Identity:
        """Of the files as they are now, or as they were when they last fitted one another."""
        stamp = self._present()
        if stamp != self._stamp:
            self._stamp = stamp  # told once for each change
            try:
                self._identity = _fitting(self.folder)
            except (OSError, ValueError) as error:
                self._changed(f"not taken into use, as {error}")
            else:
                self._changed("taken into use")
        return self._identity

    def for_channel(self) -> grpc.ChannelCredentials:
        """For one new connection; the same object while nothing has changed."""
        identity = self.current
        if self._channel is None or self._channel[0] is not identity:
            self._channel = identity, identity.for_channel()
        return self._channel[1]

    def for_server(self) -> grpc.ServerCredentials:
        """Each handshake is with what the files say then. For one port, tried once: gRPC asks for
        the first configuration once."""
        return self._serving(_configuration, callers_show_theirs=True)

    def for_join_server(self) -> grpc.ServerCredentials:
        """Of a server whose callers show no certificate. It shows the authorities too: whoever
        knows the digest of one learns the rest from it."""
        return self._serving(_with_authorities, callers_show_theirs=False)

    def _serving(
        self, configured: _Configured, *, callers_show_theirs: bool
    ) -> grpc.ServerCredentials:
        served = [self.current]

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            """None where nothing has changed since the last handshake."""
            identity = self.current
            if identity is served[0]:
                return None
            served[0] = identity
            return configured(identity)

        # None is what gRPC documents, and its stubs do not know.
        fetching: Any = fetch
        return grpc.dynamic_ssl_server_credentials(
            configured(served[0]), fetching, require_client_authentication=callers_show_theirs
        )

    def _present(self) -> Stamp:
        return stamp_of(*self._files)


def _configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(identity.key, identity.certificate)], root_certificates=identity.ca
    )


def _with_authorities(identity: Identity) -> grpc.ServerCertificateConfiguration:
    chain = identity.certificate.rstrip(b"\n") + b"\n" + identity.ca
    return grpc.ssl_server_certificate_configuration([(identity.key, chain)])


def _fitting(folder: Path) -> Identity:
    """Raises OSError, ValueError."""
    before = _stamp(folder)
    identity = Identity.load(folder)
    read_certificate(identity.certificate)
    read_certificate(identity.ca)
    certificates_in(identity.ca)  # further ones: digests are made of all
    check_pair(folder / "cert.pem", folder / "key.pem")
    if _stamp(folder) != before:
        raise ValueError("they change just now")
    return identity


def check_pair(certificate: Path, key: Path) -> None:
    """Raises OSError, and ValueError where the key is not the certificate's."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        message = f"{key.name} is not the key of {certificate.name} ({error.reason})"
        raise ValueError(message) from error


def _stamp(folder: Path) -> Stamp:
    return stamp_of(*(folder / name for name in _FILES))
