"""The part of the service that is about hosts that fail."""

from __future__ import annotations

from fleet.transport import Peer
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer
from fleet_controller.api.authorization import WRITERS, asks
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.queries import hosts as host_queries
from fleet_controller.replica.replica import Leading, Replica


class LossApi(ClusterServiceServicer):
    """Mixed into ClusterApi."""

    replica: Replica

    @asks(WRITERS)
    async def DeclareLost(
        self, leading: Leading, request: cluster.DeclareLostRequest, peer: Peer
    ) -> cluster.DeclareLostResponse:
        if not request.hosts:
            raise Refused(Reason.WHICH_HOST, "say which hosts are lost")
        await leading.verdicts.declare_lost(request.hosts, not request.undo, str(peer))
        return cluster.DeclareLostResponse(
            hosts=[
                host_queries.host_summary(leading.reign, host)
                for host in dict.fromkeys(request.hosts)
                if host in leading.reign.state.hosts
            ]
        )

    @asks(WRITERS)
    async def ReleaseQuarantine(
        self, leading: Leading, request: cluster.ReleaseQuarantineRequest, peer: Peer
    ) -> cluster.HostSummary:
        await leading.verdicts.release_quarantine(request.host, str(peer))
        return host_queries.host_summary(leading.reign, request.host)

    @asks(WRITERS)
    async def ReleaseBreaker(
        self, leading: Leading, request: cluster.ReleaseBreakerRequest, peer: Peer
    ) -> cluster.ReleaseBreakerResponse:
        waiting = leading.verdicts.waiting
        until = await leading.verdicts.release_breaker(request.seconds, str(peer))
        return cluster.ReleaseBreakerResponse(waiting_hosts=waiting, until_unix=until)
