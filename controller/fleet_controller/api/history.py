"""The part of the service that is about what was changed, backup and recovery."""

from __future__ import annotations

from contextlib import aclosing

from fleet.service import Context
from fleet.transport import Peer, abort
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer
from fleet_controller.api.authorization import READERS, WRITERS, asks, caller, refusal_of
from fleet_controller.core.audit import AuditRecord
from fleet_controller.core.changes import Reason, Refused
from fleet_controller.core.names import some_of
from fleet_controller.core.recovery.recovery import RecoveryPlan
from fleet_controller.core.recovery.view import Wish
from fleet_controller.replica.replica import Leading, Replica
from fleet_controller.store.port import Copied, Store

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

    # grpc.aio also takes a coroutine that writes; the generated signature knows generators only.
    async def Backup(  # type: ignore[override]
        self, request: cluster.BackupRequest, context: Context
    ) -> None:
        try:
            peer = caller(context, WRITERS)
            leading = self.replica.leading()
            size = await _send_copy(self.replica.around.store, context)
            text = f"the store was backed up: {size:,} bytes"
            leading.reign.events.add("backup_taken", text, actor=str(peer))
        except Exception as error:
            await abort(context, refusal_of(error))

    async def Recover(
        self, request: cluster.RecoverRequest, context: Context
    ) -> cluster.RecoverResponse:
        try:
            peer = caller(context, READERS if request.plan_only else WRITERS)
            leading = self.replica.leading()
            wish = Wish(request.adopt, dict(request.totals), frozenset(request.absent_hosts))
            ahead = len(leading.reign.ahead())
            if request.plan_only:
                plan = await leading.recovery.plan(wish)
            else:
                plan = await leading.recovery.recover(wish, request.plan_token, str(peer))
            frozen = request.plan_only or not plan.complete
            return recover_response(plan, ahead, frozen)
        except Exception as error:
            await abort(context, refusal_of(error))


async def _send_copy(store: Store, context: Context) -> int:
    """All of it; how many bytes. Raises Refused, StoreError."""
    if not isinstance(store, Copied):
        raise Refused(
            Reason.NOT_DURABLE, f"the store of this controller, {store.description}, has no backup"
        )
    sent = 0
    async with aclosing(store.copy()) as pieces:
        async for piece in pieces:
            size = len(piece.data)
            chunk = cluster.BackupChunk(
                data=piece.data, offset=sent, total_bytes=sent + size + piece.left
            )
            await context.write(chunk)
            sent += size
    return sent


def recover_response(plan: RecoveryPlan, ahead: int, frozen: bool) -> cluster.RecoverResponse:
    return cluster.RecoverResponse(
        token=plan.token,
        fleets=[
            cluster.RecoverFleet(
                fleet=found.record.name,
                uid=found.record.uid,
                total=found.record.total,
                running=found.running,
                adopted=found.adopted,
                twice=found.twice,
                missing=found.missing,
                confirmed=found.confirmed,
                excess=found.excess,
                problem=found.problem,
            )
            for found in plan.fleets
        ],
        unseen_hosts=plan.unseen,
        frozen=frozen,
        message=_what_is_left(plan),
        hosts=len(plan.assignments),
        hosts_ahead=ahead,
    )


def _what_is_left(plan: RecoveryPlan) -> str:
    parts = []
    if plan.unconfirmed:
        parts.append(f"confirm the totals of {some_of(plan.unconfirmed)}")
    if plan.unseen:
        parts.append(
            f"account for {some_of(plan.unseen)}: wait for them, or say that they are gone"
        )
    return "; ".join(parts)


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
