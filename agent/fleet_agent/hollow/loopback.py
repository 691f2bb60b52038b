"""Ports, on the loopback or another address of this machine, that stay one's own over a restart.

A port that the kernel picks is of the range from which it also picks those of outgoing
connections: while its process is down somebody else's connection may take it. So hollow hosts
listen below that range.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

LOOPBACK = "127.0.0.1"
# Below it are the ports of well-known services.
LOWEST = 10_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Linux's own default for the beginning of that range.
_EPHEMERAL = 32_768


def free_ports(share: float, skip: int = 0, address: str = LOOPBACK) -> Iterator[int]:
    """Ports nobody listens on, each once, from a place that `share` in [0, 1) chooses, and so
    many further on; then 0, for ever: any port.

    Somebody else may listen on one before the caller does: take the next then.
    """
    count = max(0, _first_ephemeral() - LOWEST)
    begin = int(share * count) + skip
    for step in range(count):
        port = LOWEST + (begin + step) % count
        if is_free(port, address):
            yield port
    while True:
        yield 0


def is_free(port: int, address: str = LOOPBACK) -> bool:
    """Whether one could listen on it; connections of an earlier process do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def _first_ephemeral() -> int:
    try:
        return int(_RANGE.read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return _EPHEMERAL
