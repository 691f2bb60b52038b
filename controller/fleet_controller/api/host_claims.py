"""The part of the service that is about how far hosts are believed about themselves."""

from __future__ import annotations

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer
from fleet_controller.api.authorization import WRITERS, Call, rpc
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.queries import hosts as host_queries
from fleet_controller.replica.replica import Replica


class HostClaimsApi(ClusterServiceServicer):
    """Mixed into ClusterApi."""

    replica: Replica

    @rpc(WRITERS)
    async def BoundHost(self, call: Call, request: cluster.BoundHostRequest) -> cluster.HostSummary:
        await call.leader.host_claims.bound(request.host, request.max_guests, call.actor)
        return _summary(call, request.host)

    @rpc(WRITERS)
    async def PinHost(self, call: Call, request: cluster.PinHostRequest) -> cluster.HostSummary:
        if request.undo:
            await call.leader.host_claims.unpin(request.host, call.actor)
        else:
            await call.leader.host_claims.pin(request.host, dict(request.labels), call.actor)
        return _summary(call, request.host)

    @rpc(WRITERS)
    async def ApproveHosts(
        self, call: Call, request: cluster.ApproveHostsRequest
    ) -> cluster.ApproveHostsResponse:
        if not request.hosts:
            raise Refused(Reason.WHICH_HOST, "say which hosts are approved")
        await call.leader.host_claims.approve(request.hosts, call.actor)
        return cluster.ApproveHostsResponse(
            hosts=[
                _summary(call, host)
                for host in dict.fromkeys(request.hosts)
                if host in call.leader.memory.state.hosts
            ]
        )


def _summary(call: Call, host: str) -> cluster.HostSummary:
    """Raises Refused where the host is gone meanwhile."""
    call.leader.memory.host(host)
    return host_queries.host_summary(call.leader.memory, call.leader.planning, host)
