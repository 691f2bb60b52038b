"""The part of the service that is about what was changed, backup and recovery."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fleet.transport import Peer
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer
from fleet_controller.core.audit import AuditRecord
from fleet_controller.gate import READERS, Context, asks, later
from fleet_controller.replica import Leading, Replica

PAGE = 100
MAX_PAGE = 1_000


class HistoryApi(ClusterServiceServicer):
    """Mixed into ClusterApi."""

    replica: Replica

    @asks(READERS)
    async def History(
        self, leading: Leading, request: cluster.HistoryRequest, peer: Peer
    ) -> cluster.HistoryResponse:
        limit = min(request.limit or PAGE, MAX_PAGE)
        records, following = leading.reign.audit.page(
            request.fleet, request.host, request.before, limit
        )
        return cluster.HistoryResponse(records=map(_wire_record, records), next=following)

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


def _wire_record(record: AuditRecord) -> cluster.AuditRecord:
    return cluster.AuditRecord(
        id=record.id,
        time_unix=record.time,
        actor=record.actor,
        action=record.action,
        fleet=record.fleet,
        host=record.host,
        before=record.before,
        after=record.after,
        result=record.result,
    )
