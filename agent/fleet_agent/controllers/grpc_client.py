"""How an agent reaches the controllers: the port, and gRPC behind it."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from fleet.certificates.certificate_dates import CertificateFile, why_refused, with_faults
from fleet.transport import (
    CONTROLLER_NAME,
    Identity,
    channel_options,
    detail_of,
)
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import cluster_pb2_grpc as cluster_grpc
from fleet.v1 import types_pb2 as types
from fleet_agent.controllers.announcer import AnnounceRefused, ControllerUnreachable, NotLeader

UNREACHABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class GrpcControllerClient:
    """A channel for each call: a host that is watched holds one connection only."""

    def __init__(
        self, identity: Identity, deadline: float = 10.0, own: Sequence[CertificateFile] = ()
    ) -> None:
        """`own`: the files of the identity, named where one of them may be why nobody answers."""
        self._own = own
        self._credentials = identity.for_channel()
        self._deadline = deadline

    async def announce(self, endpoint: str, address: str, facts: types.HostFacts) -> float:
        options = channel_options(CONTROLLER_NAME)
        async with grpc.aio.secure_channel(endpoint, self._credentials, options) as channel:
            stub = cluster_grpc.ClusterServiceStub(channel)
            request = cluster.AnnounceRequest(address=address, facts=facts)
            try:
                answer = await stub.Announce(request, timeout=self._deadline)
            except grpc.aio.AioRpcError as error:
                raise self._translated(endpoint, error) from error
        return float(answer.announce_again_seconds)

    def _translated(self, endpoint: str, error: grpc.aio.AioRpcError) -> Exception:
        detail = detail_of(error)
        if detail.reason == "NOT_LEADER":
            return NotLeader(detail.metadata.get("leader_address", ""))
        words = error.details() or error.code().name
        message = f"controller {endpoint}: {why_refused(words) or words}"
        if error.code() in UNREACHABLE:
            return ControllerUnreachable(with_faults(message, self._own))
        return AnnounceRefused(message)
