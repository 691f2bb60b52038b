"""Whether a token may be made so, and whether a machine may join by it. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from fleet.certificates.join_token import ID
from fleet.labels import label_problem
from fleet_controller.core.hosts import check_labels
from fleet_controller.core.joining.records import TokenRecord
from fleet_controller.core.refusals import Reason, Refused

MAX_TOKENS = 1_000
MAX_USES = 100_000
SHORTEST, LONGEST = 60.0, 90 * 86_400.0  # seconds
MAX_LIMITS = 32  # names, and networks, of one token
# Clocks of an honest host and a leader that both ask NTP agree within a second. Certificates are
# good from ten minutes before they are made.
CLOCK_OFF = 300.0
_PATTERN = re.compile(r"[a-z0-9*?.-]{1,200}")
_HASH_BYTES = 32


def check_new(token: TokenRecord, ttl: float, secret_hash: bytes, known: int) -> None:
    """`known`: how many tokens there are. Raises Refused."""
    wrong = ""
    if not ID.fullmatch(token.id) or len(secret_hash) != _HASH_BYTES:
        wrong = "its id or the hash of its secret is none"
    elif not SHORTEST <= ttl <= LONGEST:
        wrong = "it is good for a minute at least, and for 90 days at most"
    elif not 1 <= token.max_uses <= MAX_USES:
        wrong = f"it may be used from 1 to {MAX_USES:,} times, not {token.max_uses:,}"
    elif len(token.names) > MAX_LIMITS or len(token.networks) > MAX_LIMITS:
        wrong = f"it has at most {MAX_LIMITS} names and {MAX_LIMITS} networks"
    elif known >= MAX_TOKENS:
        wrong = f"there are {known:,} tokens already; revoke some"
    wrong = wrong or _wrong_limit(token.names, token.networks)
    for key, value in token.labels.items():
        wrong = wrong or label_problem(key, value) or ""
    if wrong:
        raise Refused(Reason.BAD_QUERY, f"there is no such token: {wrong}")
    check_labels(token.labels)


def _wrong_limit(names: Sequence[str], networks: Sequence[str]) -> str:
    for name in names:
        if not _PATTERN.fullmatch(name):
            return f"{name[:60]!r} is no pattern of hosts' names, such as dom0-*"
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            return f"{network[:60]!r} is no network such as 10.0.0.0/8 ({str(error)[:80]})"
    return ""


def check_use(token: TokenRecord, host: str, address: str, now: float, more: bool) -> None:
    """`more`: whether it would be a further use. Raises Refused."""
    if now >= token.expires:
        raise _not_by_it(token, f"expired on {_instant(token.expires)}")
    if token.names and not any(fnmatchcase(host, pattern) for pattern in token.names):
        raise _not_by_it(token, f"is for hosts called {' or '.join(token.names)}, not {host}")
    if token.networks and not any(_is_in(address, network) for network in token.networks):
        raise _not_by_it(
            token, f"is for hosts in {' or '.join(token.networks)}, not at {address or '?'}"
        )
    if more and token.uses >= token.max_uses:
        times = "once" if token.max_uses == 1 else f"{token.max_uses:,} times"
        raise _not_by_it(token, f"was used {times}, as often as it may be")


def check_clock(host: str, clock: float, now: float) -> None:
    """A host whose clock is wrong could use no certificate. Raises Refused."""
    if abs(clock - now) <= CLOCK_OFF:
        return
    raise Refused(
        Reason.CLOCK_OFF,
        f"the clock of {host} says {_instant(clock)} and that of the controller {_instant(now)}: "
        "set the host's clock (timedatectl, chronyc) and join again",
    )


def _instant(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return "a time beyond all calendars"


def plain_address(text: str) -> str:
    """As addresses are written; empty for what is none."""
    return str(_address(text.partition("%")[0]) or "")


def neighbourhood(address: str) -> str:
    """What one caller may have all the addresses of, by which callers are told apart: of IPv6 its
    /64, else the address; empty for what is none."""
    there = _address(address)
    if isinstance(there, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(there) >> 64 << 64, 64)))
    return str(there or "")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        there = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = there.ipv4_mapped if isinstance(there, ipaddress.IPv6Address) else None
    return mapped or there


def _is_in(address: str, network: str) -> bool:
    """Of what people wrote into the store and is no network, nobody is."""
    there = _address(address)
    try:
        return there is not None and there in ipaddress.ip_network(network)
    except ValueError:
        return False


def _not_by_it(token: TokenRecord, why: str) -> Refused:
    return Refused(
        Reason.BAD_TOKEN, f"the token {token.id} {why}: ask for another (fleetctl tokens create)"
    )
