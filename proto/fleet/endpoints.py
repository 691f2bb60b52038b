"""One reading of HOST:PORT for all programs: what is listened on, advertised, and dialled."""

from __future__ import annotations

import re

MAX_PORT = 65535
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_PORT = re.compile(r"[0-9]{1,5}")
# On which a server is reached at each address of its machine; nobody can dial them.
_EVERY_ADDRESS = ("0.0.0.0", "[::]")


class BadEndpoint(ValueError):
    """One sentence, with what to write."""


def listened(text: str) -> str:
    """An endpoint to serve on: port 0 stands for a free one, 0.0.0.0 and [::] for every address.
    Raises BadEndpoint."""
    _split(text, least_port=0)
    return text


def dialled(text: str) -> str:
    """An endpoint that others are to reach. Raises BadEndpoint."""
    host, _ = _split(text, least_port=1)
    if host in _EVERY_ADDRESS:
        raise BadEndpoint(
            f"{text!r} cannot be dialled: {host} stands for every address of a machine"
        )
    return text


def is_every_address(endpoint: str) -> bool:
    """Whether a good endpoint stands for every address of its machine."""
    return endpoint.rpartition(":")[0] in _EVERY_ADDRESS


def target(endpoint: str) -> str:
    """As gRPC dials it: an address as it is, and only a name is looked up. What is no endpoint is
    looked up too, and so it is not found."""
    try:
        host, _ = _split(endpoint, least_port=1)
    except BadEndpoint:
        return f"dns:///{endpoint}"
    if host.startswith("["):
        return f"ipv6:{endpoint}"
    return f"{'ipv4:' if host.rpartition('.')[2].isdecimal() else 'dns:///'}{endpoint}"


def _split(text: str, least_port: int) -> tuple[str, int]:
    """Host, in brackets where it is an IPv6 address, and port. Raises BadEndpoint."""
    host, colon, port = text.rpartition(":")
    shown = f"{text[:80]!r} is not HOST:PORT"
    if "://" in text:
        raise BadEndpoint(f"{shown}: it is a URL")
    if not text.startswith("[") and text.count(":") > 1:
        raise BadEndpoint(f"{shown}: write an IPv6 address in brackets, such as [2001:db8::1]:7440")
    if not colon or text.endswith("]"):
        raise BadEndpoint(f"{shown}: it has no port")
    if not _PORT.fullmatch(port) or not least_port <= int(port) <= MAX_PORT:
        raise BadEndpoint(f"{shown}: a port is a number from {least_port} to {MAX_PORT}")
    if not host:
        raise BadEndpoint(f"{shown}: it has no host")
    if not _is_host(host):
        raise BadEndpoint(f"{shown}: {host[:80]!r} is neither an address nor the name of a host")
    return host, int(port)


def _is_host(host: str) -> bool:
    import ipaddress  # not at the top: fleetctl is to start fast

    try:
        if host.startswith("["):
            ipaddress.IPv6Address(host[1:-1])
            return host.endswith("]")
        if not host.rpartition(".")[2].isdecimal():
            return bool(_HOST_NAME.fullmatch(host))
        ipaddress.IPv4Address(host)
        return True
    except ValueError:
        return False
