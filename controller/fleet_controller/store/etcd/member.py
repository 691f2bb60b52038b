"""One member of an etcd cluster: its connection, its services, and what its errors mean."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, TypeVar

import grpc

from fleet.etcd import rpc_pb2 as rpc
from fleet.etcd import rpc_pb2_grpc as stubs
from fleet.transport import Identity

# A member that has vanished without closing is noticed within their sum. etcd refuses pings
# more often than every 5 s (--grpc-keepalive-min-time), and any without a call under way.
KEEPALIVE_TIME_MS = 6_000
KEEPALIVE_TIMEOUT_MS = 5_000
MAX_RECONNECT_BACKOFF_MS = 1_000
# What gRPC calls the minimal back-off is how long one attempt to connect may take.
CONNECT_TIMEOUT_MS = 3_000
# Of a page of a read; one value may have 1.5 MiB (etcd's --max-request-bytes).
MAX_RECEIVE_BYTES = 64 * 1024 * 1024
# Makes a member that has lost its quorum end a watch instead of falling silent.
REQUIRE_LEADER = (("hasleader", "true"),)

OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_MS),
    ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_BACKOFF_MS),
    ("grpc.use_local_subchannel_pool", 1),
    # Members are spoken to directly, whatever http_proxy says.
    ("grpc.enable_http_proxy", 0),
    # A call sent twice by the transport itself would have two outcomes.
    ("grpc.enable_retries", 0),
)


# What another member, or the same one a moment later, may answer differently.
PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)

# Signs in the text of errors, as gRPC and etcd word them, and what they mean for people. A text
# that changes there costs clarity, no more.
_HANDSHAKE = (
    "it ended the handshake: one side speaks TLS and the other does not, or it does not trust"
    " the certificate shown to it"
)
_LOST = "the connection to it was lost"
FULL = "database space exceeded"
_CLAUSES = (
    (
        FULL,
        "its database is full (NOSPACE); compact and defragment it, then disarm its alarm"
        " (etcdctl alarm disarm)",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not from the authority that is trusted here, or not for this address",
    ),
    ("Tls handshake failed", _HANDSHAKE),
    ("TSI_", _HANDSHAKE),
    ("failed to connect to all addresses; last error: UNAVAILABLE", _HANDSHAKE),
    ("hostname lookup error", "its name cannot be resolved"),
    # A connection that breaks under a call, as gRPC's parts word it one inside the other.
    ("Stream removed", _LOST),
    ("Transport closed", _LOST),
    ("Socket closed", _LOST),
    ("GOAWAY", _LOST),
)

Q = TypeVar("Q")


class Member:
    """One etcd server: its connection and its services."""

    def __init__(self, address: str, identity: Identity | None) -> None:
        self.address = address
        self._closed = False
        # Whether it has said who it is since a call to it last failed.
        self.known = False
        self._channel = (
            grpc.aio.insecure_channel(address, options=OPTIONS)
            if identity is None
            else grpc.aio.secure_channel(address, identity.for_channel(), options=OPTIONS)
        )
        self.kv = stubs.KVStub(self._channel)
        self.leases = stubs.LeaseStub(self._channel)
        self.watches = stubs.WatchStub(self._channel)
        self.maintenance = stubs.MaintenanceStub(self._channel)
        self.cluster = stubs.ClusterStub(self._channel)

    @property
    def connected(self) -> bool:
        """Known, by a connection that is up."""
        if self._closed or not self.known:
            return False
        return self._channel.get_state() is grpc.ChannelConnectivity.READY

    async def probe(self, seconds: float, *, patient: bool) -> rpc.StatusResponse:
        """Connect and ask who it is. Impatient: a refused connection ends it at once."""
        return await self.maintenance.Status(
            rpc.StatusRequest(), timeout=seconds, wait_for_ready=patient
        )

    async def close(self) -> None:
        self._closed = True
        await self._channel.close()


async def send(stream: grpc.aio.StreamStreamCall[Q, Any], request: Q) -> None:
    """Write to a stream. One that has ended already tells why when it is read."""
    with suppress(asyncio.InvalidStateError):
        await stream.write(request)


def explain(error: grpc.aio.AioRpcError) -> str:
    """One short clause for people, said of the member."""
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "no answer in time"
    details = error.details() or error.code().name
    for sign, clause in _CLAUSES:
        if sign in details:
            return clause
    return details.rpartition("remote host: ")[2].removeprefix("etcdserver: ")
