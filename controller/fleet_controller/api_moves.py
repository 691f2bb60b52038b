"""The part of the service that is about VMs that move, change or stop."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer
from fleet_controller.gate import Context, later


class MovesApi(ClusterServiceServicer):
    """Mixed into ClusterApi."""

    async def Drain(
        self, request: cluster.DrainRequest, context: Context
    ) -> AsyncIterator[cluster.DrainProgress]:
        await later(context, "draining")
        yield cluster.DrainProgress()

    async def RemoveHost(
        self, request: cluster.RemoveHostRequest, context: Context
    ) -> cluster.RemoveHostResponse:
        await later(context, "removal of hosts")
        return cluster.RemoveHostResponse()

    async def Rollout(
        self, request: cluster.RolloutRequest, context: Context
    ) -> cluster.RolloutStatus:
        await later(context, "rollouts")
        return cluster.RolloutStatus()

    async def ControlVms(
        self, request: cluster.ControlVmsRequest, context: Context
    ) -> cluster.ControlVmsResponse:
        await later(context, "control of single VMs")
        return cluster.ControlVmsResponse()
