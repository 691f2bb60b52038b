"""The part of the service that is about hosts that fail."""

from __future__ import annotations

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer
from fleet_controller.gate import Context, later


class LossApi(ClusterServiceServicer):
    """Mixed into ClusterApi."""

    async def DeclareLost(
        self, request: cluster.DeclareLostRequest, context: Context
    ) -> cluster.DeclareLostResponse:
        await later(context, "declaration of lost hosts")
        return cluster.DeclareLostResponse()

    async def ReleaseQuarantine(
        self, request: cluster.ReleaseQuarantineRequest, context: Context
    ) -> cluster.HostSummary:
        await later(context, "quarantine")
        return cluster.HostSummary()

    async def ReleaseBreaker(
        self, request: cluster.ReleaseBreakerRequest, context: Context
    ) -> cluster.ReleaseBreakerResponse:
        await later(context, "breaker")
        return cluster.ReleaseBreakerResponse()
