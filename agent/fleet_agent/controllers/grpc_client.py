"""How an agent reaches the controllers: the port, and gRPC behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc

from fleet.certificates.certificate_dates import CertificateFile, why_refused, with_faults
from fleet.endpoints import target
from fleet.single_call import single_call
from fleet.transport import (
    CONTROLLER_NAME,
    Credentials,
    channel_options,
    detail_of,
)
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import joining_pb2 as joining
from fleet.v1 import types_pb2 as types
from fleet_agent.controllers.announcer import AnnounceRefused, ControllerUnreachable, NotLeader
from fleet_agent.joining.renewal import CannotRenew

# Where controllers are, and what hosts are to hold by now; None: they do not say.
Told = Callable[[Sequence[str], joining.Trust | None], None]


def told_nobody(controllers: Sequence[str], trust: joining.Trust | None) -> None:
    return


_METHODS = cluster.DESCRIPTOR.services_by_name["ClusterService"].methods_by_name
_ANNOUNCE, _RENEW = _METHODS["Announce"], _METHODS["Renew"]
UNREACHABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class GrpcControllerClient:
    """A channel for each call: a host that is watched holds one connection only."""

    def __init__(
        self,
        identity: Credentials,
        deadline: float = 10.0,
        own: Callable[[], Sequence[CertificateFile]] = tuple,
        told: Told = told_nobody,
    ) -> None:
        """`own`: the files of the identity, named where one of them may be why nobody answers.
        `told`: hears what controllers say of themselves with each answer."""
        self._own = own
        self._told = told
        self._identity = identity
        self._deadline = deadline

    async def announce(self, endpoint: str, address: str, facts: types.HostFacts) -> float:
        options = channel_options(CONTROLLER_NAME, measured=False)
        async with grpc.aio.secure_channel(
            target(endpoint), self._identity.for_channel(), options
        ) as channel:
            call = single_call(channel, _ANNOUNCE, cluster.AnnounceResponse)
            request = cluster.AnnounceRequest(address=address, facts=facts)
            try:
                answer = await call(request, timeout=self._deadline)
            except grpc.aio.AioRpcError as error:
                raise self._translated(endpoint, error) from error
        self._told(answer.controllers, answer.trust if answer.HasField("trust") else None)
        return float(answer.announce_again_seconds)

    async def renew(self, endpoint: str, request: joining.RenewRequest) -> joining.RenewResponse:
        """Raises CannotRenew."""
        options = channel_options(CONTROLLER_NAME, measured=False)
        credentials = self._identity.for_channel()
        async with grpc.aio.secure_channel(target(endpoint), credentials, options) as channel:
            call = single_call(channel, _RENEW, joining.RenewResponse)
            try:
                answer = await call(request, timeout=self._deadline)
            except grpc.aio.AioRpcError as error:
                raise CannotRenew(str(self._translated(endpoint, error))) from error
        return answer

    def _translated(self, endpoint: str, error: grpc.aio.AioRpcError) -> Exception:
        detail = detail_of(error)
        if detail.reason == "NOT_LEADER":
            return NotLeader(detail.metadata.get("leader_address", ""))
        words = error.details() or error.code().name
        message = f"controller {endpoint}: {why_refused(words) or words}"
        if error.code() in UNREACHABLE:
            return ControllerUnreachable(with_faults(message, self._own()))
        return AnnounceRefused(message)
