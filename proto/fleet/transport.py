"""Channels and servers: mTLS, roles by certificate, keepalive, machine-readable errors.

A certificate names its holder by one DNS name, `<name>.<role>.megafleet` (see fleet.peers). The
caller of an agent insists on the name `<host id>.agent.megafleet` whatever address it dials, so a
host that answers at another's address is refused. All controllers also carry
`controller.megafleet`, so that any endpoint of a cluster may be dialled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn, Protocol

import grpc

from fleet.private_file import read_private
from fleet.v1 import types_pb2 as types

DOMAIN = "megafleet"
CONTROLLER_NAME = f"controller.{DOMAIN}"
ERROR_METADATA = "fleet-error-bin"
# Sent before the first answer of a console: the leader has it, so no other replica need be asked.
TAKEN_METADATA = "fleet-taken"
# After an answer made from what was known last: its age in seconds, a space, and why in UTF-8.
READ_ONLY_METADATA = "fleet-read-only-bin"
# For whom a controller passes a call on: `role/name` of the certificate that it was shown.
CALLER_METADATA = "fleet-caller"

# A peer that vanished without closing is noticed within KEEPALIVE_TIME + KEEPALIVE_TIMEOUT.
KEEPALIVE_TIME_MS = 60_000
KEEPALIVE_TIMEOUT_MS = 20_000
# The largest message is a full listing of hosts or VMs (10,000 rows of some 100 bytes).
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

_MOST_RECEIVED = "grpc.max_receive_message_length"
# What may be under way to the caller, of one call, where gRPC does not measure the line.
_UNDER_WAY_BYTES = 512 * 1024
# gRPC pings for what comes, to learn how much the line takes. Of small messages each costs a ping.
UNMEASURED: tuple[str, Any] = ("grpc.http2.bdp_probe", 0)

_COMMON: tuple[tuple[str, Any], ...] = (
    ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Hosts are dialled by address; a proxy set for downloads is none for them.
    ("grpc.enable_http_proxy", 0),
    (_MOST_RECEIVED, MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)
SERVER_OPTIONS: tuple[tuple[str, Any], ...] = (
    *_COMMON,
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_TIME_MS // 4),
    # Past this many calls waiting to be accepted, further ones end CANCELLED: a fleet that
    # announces itself at once has as many.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
)


class Role(StrEnum):
    """What a certificate entitles to."""

    OPERATOR = "operator"
    VIEWER = "viewer"
    CONTROLLER = "controller"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who called, as the verified certificate says."""

    role: Role
    name: str

    def __str__(self) -> str:
        return f"{self.role}/{self.name}"

    @property
    def spellings(self) -> tuple[str, ...]:
        """Under which denials hold for it: as it is written, and in lower case, so that who denies
        `eve` denies `Eve` as well."""
        written = str(self)
        return (written,) if written.islower() else (written, written.lower())

    @classmethod
    def parse(cls, text: str) -> Peer | None:
        """From `role/name`; None for anything else."""
        role, _, name = text.partition("/")
        return cls(Role(role), name) if name and role in Role.__members__.values() else None


@dataclass(frozen=True, slots=True)
class Identity:
    """A party's own key and certificate, and the authority it trusts: PEM bytes."""

    ca: bytes
    certificate: bytes
    key: bytes

    @classmethod
    def load(cls, folder: Path) -> Identity:
        """From ca.pem, cert.pem and key.pem in a folder. Raises OSError naming the file; also for
        a key that others may read."""
        return cls(
            (folder / "ca.pem").read_bytes(),
            (folder / "cert.pem").read_bytes(),
            read_private(folder / "key.pem"),
        )

    def for_server(self) -> grpc.ServerCredentials:
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)], root_certificates=self.ca, require_client_auth=True
        )

    def for_channel(self) -> grpc.ChannelCredentials:
        """The same object for the same identity, as long as others are few."""
        return _for_channel(self)


@lru_cache(maxsize=8)
def _for_channel(identity: Identity) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(identity.ca, identity.key, identity.certificate)


class Credentials(Protocol):
    """What connections are made and accepted with: an Identity, or one whose files change."""

    def for_server(self) -> grpc.ServerCredentials: ...

    def for_channel(self) -> grpc.ChannelCredentials:
        """For one new connection; another object where they have changed."""


def dns_name(role: Role, name: str) -> str:
    """The DNS name that a certificate of this role and name carries."""
    return f"{name}.{role}.{DOMAIN}"


def channel_options(
    expected_name: str, most_received: int = MAX_MESSAGE_BYTES, *, measured: bool = True
) -> list[tuple[str, Any]]:
    """Options for a channel whose server must hold a certificate with this DNS name.
    `most_received`: bytes of one message of the server's; a larger one is not read, and ends its
    call with RESOURCE_EXHAUSTED. `measured`: for what comes in bulk, gRPC measures the line.

    Each channel has its own connection: gRPC would else share one between equal targets.
    """
    return [
        *(one for one in _COMMON if one[0] != _MOST_RECEIVED),
        (_MOST_RECEIVED, most_received),
        ("grpc.ssl_target_name_override", expected_name),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 500),
        ("grpc.max_reconnect_backoff_ms", 10_000),
        *(() if measured else (UNMEASURED, ("grpc.http2.lookahead_bytes", _UNDER_WAY_BYTES))),
    ]


@dataclass(eq=False)
class Refusal(Exception):
    """An answer that is an error: a gRPC status, a stable reason, and one clear sentence."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str] | None = None

    def __str__(self) -> str:
        return self.message

    def trailing(self) -> tuple[tuple[str, bytes], ...]:
        detail = types.ErrorDetail(reason=self.reason, metadata=dict(self.metadata or {}))
        return ((ERROR_METADATA, detail.SerializeToString()),)


async def abort(context: grpc.aio.ServicerContext[Any, Any], refusal: Refusal) -> NoReturn:
    """End the call with the refusal."""
    await context.abort(refusal.code, refusal.message, refusal.trailing())
    raise AssertionError("abort returned")


def detail_of(error: grpc.RpcError) -> types.ErrorDetail:
    """The machine-readable reason of a failed call; an empty one where there is none."""
    trailing = getattr(error, "trailing_metadata", lambda: None)()
    for key, value in trailing or ():
        if key == ERROR_METADATA:
            return types.ErrorDetail.FromString(value)
    return types.ErrorDetail()
