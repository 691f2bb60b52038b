"""Whom a machine has reached, before it knows any authority: by the digest that its token names.

A controller shows its certificate and all authorities that it trusts. Nothing of that is believed
but a certificate with the digest; then all goes over a second connection, which is made as ever,
with that one for the authority. So whoever listens in between sees no token.

While an authority is replaced, controllers show two: the digest is found, though their own
certificates are by the other one already. That is told here, where it can be said in words: the
second connection would only fail, time and again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from fleet.certificates.authorities import as_pem, digest
from fleet.certificates.certificate import read_certificate

SECONDS = 10.0
_READ_BYTES = 64 * 1024
_FORM = "%Y-%m-%d %H:%M UTC"


class NotReached(Exception):
    """Nobody answers there; one sentence. Worth trying again."""


class Stranger(Exception):
    """Whoever answers there is not whom the token means, or the clock here is wrong; one
    sentence."""


async def authority_of(endpoint: str, wanted: bytes, now: datetime | None = None) -> bytes:
    """PEM of the authority with this digest. Raises NotReached, Stranger."""
    chain = await _shown(endpoint)
    found = next((der for der in chain if digest(der) == wanted), None)
    if found is None:
        raise Stranger(
            f"{endpoint} is no controller of the cluster that the token is for, or its authority "
            "was replaced since: ask for another token"
        )
    authority = as_pem(found)
    _check_clock(endpoint, (as_pem(chain[0]), authority), now or datetime.now(UTC))
    _check_signed(endpoint, chain, found)
    return authority


async def _shown(endpoint: str) -> list[bytes]:
    """DER of what the server shows, whoever it is; it is told nothing. Raises NotReached."""
    host, _, port = endpoint.rpartition(":")
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            try:
                return _chain(await _greeted(reader, writer))
            finally:
                writer.transport.abort()
    except TimeoutError as error:
        why = f"no certificate within {SECONDS:g} s"
        raise NotReached(f"nobody answers at {endpoint} ({why})") from error
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise NotReached(f"nobody answers at {endpoint} ({why})") from error


async def _greeted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> ssl.SSLObject:
    """Once the server has shown its certificates. What would end its half of the handshake is not
    sent: it makes no connection of HTTP for somebody who leaves. Raises OSError."""
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    secured = _believing_nobody().wrap_bio(came, goes)
    while True:
        try:
            secured.do_handshake()
        except ssl.SSLWantReadError:
            writer.write(goes.read())
            if not (received := await reader.read(_READ_BYTES)):
                raise ConnectionError("it hung up") from None
            came.write(received)
        else:
            return secured


@cache
def _believing_nobody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _chain(secured: ssl.SSLObject) -> list[bytes]:
    """From Python 3.13 on a method of this; before, of what is below it, from 3.10 on."""
    below: Any = secured
    if hasattr(below, "get_unverified_chain"):
        return [bytes(der) for der in below.get_unverified_chain()]
    chain = below._sslobj.get_unverified_chain() or ()
    return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in chain]


def _check_clock(endpoint: str, certificates: tuple[bytes, ...], now: datetime) -> None:
    """A clock that is far off lets all certificates look ended, or not begun. Raises Stranger."""
    for pem in certificates:
        try:
            dates = read_certificate(pem)
        except ValueError as error:
            raise Stranger(f"{endpoint} shows a certificate that cannot be read: {error}") from None
        if not dates.not_before <= now <= dates.not_after:
            raise Stranger(
                f"the clock here says {now:{_FORM}}, and a certificate of {endpoint} is good from "
                f"{dates.not_before:{_FORM}} to {dates.not_after:{_FORM}}: set the clock "
                "(timedatectl, chronyc), or renew the controller's certificate"
            )


def _check_signed(endpoint: str, chain: Sequence[bytes], authority: bytes) -> None:
    """A fraction of a millisecond. Raises Stranger."""
    from fleet_agent.joining.received import is_below

    try:
        below = is_below(chain, authority)
    except ValueError as error:
        raise Stranger(f"{endpoint} shows a certificate that cannot be read: {error}") from None
    if not below:
        raise Stranger(
            f"the certificate of {endpoint} is not by the authority that the token is for: its "
            "authority is being replaced, ask for another token; or it is no controller of that "
            "cluster"
        )
