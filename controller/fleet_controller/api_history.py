"""The part of the service that is about what was changed, backup and recovery."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer
from fleet_controller.gate import Context, later


class HistoryApi(ClusterServiceServicer):
    """Mixed into ClusterApi."""

    async def History(
        self, request: cluster.HistoryRequest, context: Context
    ) -> cluster.HistoryResponse:
        await later(context, "history")
        return cluster.HistoryResponse()

    async def Backup(
        self, request: cluster.BackupRequest, context: Context
    ) -> AsyncIterator[cluster.BackupChunk]:
        await later(context, "backup")
        yield cluster.BackupChunk()

    async def Recover(
        self, request: cluster.RecoverRequest, context: Context
    ) -> cluster.RecoverResponse:
        await later(context, "recovery")
        return cluster.RecoverResponse()
