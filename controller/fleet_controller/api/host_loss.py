"""The part of the service that is about hosts that fail."""

from __future__ import annotations

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer
from fleet_controller.api.authorization import WRITERS, Call, rpc
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.queries import hosts as host_queries
from fleet_controller.replica.replica import Replica


class HostLossApi(ClusterServiceServicer):
    """Mixed into ClusterApi."""

    replica: Replica

    @rpc(WRITERS)
    async def DeclareLost(
        self, call: Call, request: cluster.DeclareLostRequest
    ) -> cluster.DeclareLostResponse:
        if not request.hosts:
            raise Refused(Reason.WHICH_HOST, "say which hosts are lost")
        await call.leader.verdicts.declare_lost(request.hosts, not request.undo, call.actor)
        return cluster.DeclareLostResponse(
            hosts=[
                host_queries.host_summary(call.leader.memory, call.leader.planning, host)
                for host in dict.fromkeys(request.hosts)
                if host in call.leader.memory.state.hosts
            ]
        )

    @rpc(WRITERS)
    async def ResetHost(self, call: Call, request: cluster.ResetHostRequest) -> cluster.HostSummary:
        await call.leader.host_reset.reset(request.id, call.actor)
        return host_queries.host_summary(call.leader.memory, call.leader.planning, request.id)

    @rpc(WRITERS)
    async def ReleaseQuarantine(
        self, call: Call, request: cluster.ReleaseQuarantineRequest
    ) -> cluster.HostSummary:
        await call.leader.verdicts.release_quarantine(request.host, call.actor)
        return host_queries.host_summary(call.leader.memory, call.leader.planning, request.host)

    @rpc(WRITERS)
    async def ReleaseBreaker(
        self, call: Call, request: cluster.ReleaseBreakerRequest
    ) -> cluster.ReleaseBreakerResponse:
        waiting = call.leader.absences.waiting
        until = await call.leader.verdicts.release_breaker(request.seconds, call.actor)
        return cluster.ReleaseBreakerResponse(waiting_hosts=waiting, until_unix=until)
