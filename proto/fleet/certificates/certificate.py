"""What stands in an X.509 certificate: its names, with their kinds, and its dates.

Whoever verified it has parsed it already; here it is only read. This is a few lines of DER, since
a dom0 needs no library for it, and gRPC tells names without their kinds: an e-mail address would
pass for a DNS name. Anything unexpected raises ValueError.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

# Tags of DER (X.690) and of GeneralName (RFC 5280, 4.2.1.6).
_SEQUENCE, _OBJECT_ID, _OCTETS, _UTC_TIME, _TIME = 0x30, 0x06, 0x04, 0x17, 0x18
# Digits of the year. Those of two digits are of 1950 to 2049 (RFC 5280, 4.1.2.5.1).
_YEARS = {_UTC_TIME: 2, _TIME: 4}
_DATE = re.compile(rb"(\d\d|\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z")
_NO_DATE = "it is no X.509 certificate: its dates are none"
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_DNS_NAME = 0x82
_OTHER_NAMES = {0x81: "e-mail", 0x86: "URI", 0x87: "IP address"}
_ALTERNATIVE_NAMES = bytes.fromhex("551d11")  # 2.5.29.17
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
# Every host of a large cluster calls with the same certificate again and again. A certificate of
# ours has some 800 bytes.
_KEPT = 8192


@dataclass(frozen=True, slots=True)
class Certificate:
    """`dns_names`: in their order, whatever bytes they have, as Latin-1. `others`: which kinds of
    names there are besides."""

    dns_names: tuple[str, ...]
    others: frozenset[str]
    not_before: datetime
    not_after: datetime


@lru_cache(maxsize=_KEPT)
def read_certificate(pem: bytes) -> Certificate:
    """The first certificate of a PEM text. Raises ValueError."""
    found = _PEM.search(pem)
    if found is None:
        raise ValueError("it is not PEM")
    try:
        return _read(binascii.a2b_base64(found[1]))
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no X.509 certificate: {error}") from error


def _read(der: bytes) -> Certificate:
    signed = _first(_first(der, _SEQUENCE), _SEQUENCE)
    fields = [one for one in _parts(signed) if one[0] != _VERSION]
    # Serial number, signature, issuer, validity, subject, key; extensions are tagged.
    before, after = (_time(tag, text) for tag, text in _parts(_of(fields[3], _SEQUENCE)))
    names = [name for tag, text in fields if tag == _EXTENSIONS for name in _names(text)]
    return Certificate(
        tuple(text.decode("latin-1") for tag, text in names if tag == _DNS_NAME),
        frozenset(_OTHER_NAMES.get(tag, "other") for tag, _ in names if tag != _DNS_NAME),
        before,
        after,
    )


def _names(extensions: bytes) -> Iterator[tuple[int, bytes]]:
    """The subject's alternative names: tag and content."""
    for tag, extension in _parts(_first(extensions, _SEQUENCE)):
        if tag != _SEQUENCE:
            raise ValueError("it is no X.509 certificate")
        parts = list(_parts(extension))
        if parts[0] == (_OBJECT_ID, _ALTERNATIVE_NAMES):
            yield from _parts(_first(_of(parts[-1], _OCTETS), _SEQUENCE))


def _time(tag: int, text: bytes) -> datetime:
    found = _DATE.fullmatch(text)
    if found is None or len(found[1]) != _YEARS.get(tag):
        raise ValueError(_NO_DATE)
    year, month, day, hour, minute, second = map(int, found.groups())
    if tag == _UTC_TIME:
        year += 1900 if year >= 50 else 2000
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise ValueError(_NO_DATE) from error


def _parts(content: bytes) -> Iterator[tuple[int, bytes]]:
    """What stands one after another: tag and content. Raises ValueError, IndexError."""
    at = 0
    while at < len(content):
        tag, length, at = content[at], content[at + 1], at + 2
        if length & 0x80:
            octets = length & 0x7F
            length, at = int.from_bytes(content[at : at + octets], "big"), at + octets
        if at + length > len(content):
            raise ValueError("it is no X.509 certificate: it is cut off")
        yield tag, content[at : at + length]
        at += length


def _first(content: bytes, tag: int) -> bytes:
    for part in _parts(content):
        return _of(part, tag)
    raise ValueError("it is no X.509 certificate: something is missing")


def _of(part: tuple[int, bytes], tag: int) -> bytes:
    if part[0] != tag:
        raise ValueError(f"it is no X.509 certificate: tag {part[0]:#x} instead of {tag:#x}")
    return part[1]
