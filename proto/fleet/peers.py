"""Who is at the other end of a connection, from its verified certificate.

A role comes from one DNS name, `<name>.<role>.megafleet`, and from nothing else: not from the
subject, an e-mail address, a URI or an IP address, not from a wildcard, from a role in upper case,
or from another suffix. Hosts and controllers are called as in DNS, people as they are: also with
capitals, underscores and @. A certificate with two such names has no role at all. Names outside of
our domain say where a server is reached, and do not matter here; controllers also carry their
shared name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fleet.certificates.certificate import Certificate, read_certificate
from fleet.transport import CONTROLLER_NAME, DOMAIN, Peer, Role

# Labels as in DNS, joined by dots; with role and domain within DNS's 253 characters.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
HOLDER = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# A person's: Jane_D@example.org.
_WORD = r"[A-Za-z0-9_](?:[A-Za-z0-9_@-]{0,61}[A-Za-z0-9_])?"
PERSON = re.compile(rf"{_WORD}(?:\.{_WORD})*")
PEOPLE = frozenset({Role.OPERATOR, Role.VIEWER})
MAX_HOLDER_LENGTH = 200
_OURS = re.compile(rf"({PERSON.pattern})\.({'|'.join(Role)})\.{DOMAIN}")
_SHOWN = 80


class NoRole(Exception):
    """The certificate gives no role; one sentence says why."""


def peer_of(auth_context: Mapping[Any, Iterable[bytes]]) -> Peer:
    """Who is at the other end, from `context.auth_context()`. Raises NoRole."""
    for pem in auth_context.get("x509_pem_cert", ()):
        try:
            return holder_of(read_certificate(pem))
        except ValueError as error:
            raise NoRole(f"the certificate cannot be read: {error}") from error
    raise NoRole("no certificate was shown")


def holder_of(certificate: Certificate) -> Peer:
    """Whom the certificate names. Raises NoRole."""
    ours = [name for name in certificate.dns_names if _is_ours(name)]
    shared = CONTROLLER_NAME in ours
    named = [name for name in ours if name != CONTROLLER_NAME]
    if not named:
        raise NoRole(_nothing_named(certificate))
    if len(named) > 1:
        raise NoRole(
            f"the certificate names more than one holder ({_shown(named)}): it must name one"
        )
    peer = _parsed(named[0])
    if shared and peer.role is not Role.CONTROLLER:
        raise NoRole(f"the certificate names {_shown(named)} and {CONTROLLER_NAME}: two roles")
    return peer


def is_name(name: str, role: Role | None = None) -> bool:
    """Whether a holder of the role may be called so; without one, whether anybody may. The last of
    several labels is no role: who holds `x.controller.operator.megafleet` could be misread."""
    last = name.rpartition(".")
    ambiguous = bool(last[0]) and last[2].lower() in Role.__members__.values()
    allowed = PERSON if role in PEOPLE else HOLDER
    return len(name) <= MAX_HOLDER_LENGTH and bool(allowed.fullmatch(name)) and not ambiguous


def parse_peer(text: str) -> Peer | None:
    """From `role/name`, strictly; None for anything else."""
    peer = Peer.parse(text)
    return peer if peer is not None and is_name(peer.name, peer.role) else None


def _is_ours(name: str) -> bool:
    """Whether it claims to be in our domain, well formed or not."""
    plain = name.lower().rstrip(".")
    return plain == DOMAIN or plain.endswith(f".{DOMAIN}")


def _parsed(name: str) -> Peer:
    """Raises NoRole."""
    if match := _OURS.fullmatch(name):
        holder, role = match[1], Role(match[2])
        if is_name(holder, role):
            return Peer(role, holder)
    raise NoRole(
        f"the certificate names {_shown([name])}, which gives no role: it must be "
        f"<name>.<role>.{DOMAIN} of lower-case letters, digits, hyphens and dots; the name of an "
        "operator or viewer may have capitals, underscores and @ too"
    )


def _nothing_named(certificate: Certificate) -> str:
    found = _shown(certificate.dns_names) if certificate.dns_names else ""
    kinds = ", ".join(sorted(certificate.others))
    has = " and ".join(part for part in (found, f"names of kind {kinds}" if kinds else "") if part)
    return (
        f"the certificate has no DNS name <name>.<role>.{DOMAIN}{f' (it has {has})' if has else ''}"
    )


def _shown(names: Iterable[str]) -> str:
    """Printable, and no longer than can be read."""
    return ", ".join(ascii(name[:_SHOWN]) for name in list(names)[:3])
