"""The bounds that gRPC keeps for a server, before any of our code sees a call.

Each was tried against a server of grpc.aio (decision 0047): all of these hold there.
"""

from __future__ import annotations

from typing import Any

from fleet.transport import SERVER_OPTIONS

# Whoever has connected without finishing TLS and HTTP/2 within this is cut off: a handshake takes
# milliseconds, and seconds where a whole fleet comes at once.
HANDSHAKE_MS = 10_000
# A connection without a call is closed after this; callers dial anew by themselves.
IDLE_MS = 300_000
# Ours are below 1 KiB; a change deadline, a caller and a proof of them.
METADATA_BYTES = 8 * 1024
# Calls of all connections that wait to be looked at; further ones end CANCELLED. A fleet that
# announces itself at once has as many as hosts.
PENDING_CALLS = 16_384


def server_options(
    max_request_bytes: int,
    streams: int,
    connections: int | None = None,
    idle_ms: int = IDLE_MS,
) -> list[tuple[str, Any]]:
    """`streams`: calls at once of one connection; callers' libraries hold further ones back.
    `connections`: in all, with those in their handshake; None: no bound. `idle_ms`: after which
    one without a call is closed."""
    options = dict(SERVER_OPTIONS) | {
        "grpc.max_receive_message_length": max_request_bytes,
        "grpc.max_concurrent_streams": streams,
        "grpc.server_handshake_timeout_ms": HANDSHAKE_MS,
        "grpc.max_connection_idle_ms": idle_ms,
        "grpc.max_metadata_size": METADATA_BYTES,
        "grpc.absolute_max_metadata_size": 2 * METADATA_BYTES,
        "grpc.server.max_pending_requests": PENDING_CALLS,
        "grpc.server.max_pending_requests_hard_limit": PENDING_CALLS,
    }
    if connections is not None:
        options["grpc.max_allowed_incoming_connections"] = connections
    return list(options.items())
