"""The part of the service that is about what was changed, backup and recovery."""

from __future__ import annotations

import math
from contextlib import aclosing

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer
from fleet_controller.api.authorization import (
    NAMES_MANY_BYTES,
    READERS,
    WRITERS,
    Call,
    changing_unless_planned,
    rpc,
)
from fleet_controller.core.audit import AuditRecord
from fleet_controller.core.names import some_of
from fleet_controller.core.recovery.recovery import RecoveryPlan
from fleet_controller.core.recovery.view import RecoveryChoice
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.replica.replica import Replica
from fleet_controller.store.port import Copied, Store

PAGE = 100
MAX_PAGE = 1_000


class HistoryApi(ClusterServiceServicer):
    """Mixed into ClusterApi."""

    replica: Replica

    @rpc(READERS)
    async def History(self, call: Call, request: cluster.HistoryRequest) -> cluster.HistoryResponse:
        limit = min(request.limit or PAGE, MAX_PAGE)
        records, following = call.leader.memory.state.audit.page(
            request.fleet, request.host, request.before, limit
        )
        return cluster.HistoryResponse(records=map(_wire_record, records), next=following)

    # grpc.aio also takes a coroutine that writes; the generated signature knows generators only.
    @rpc(WRITERS)
    async def Backup(self, call: Call, request: cluster.BackupRequest) -> None:  # type: ignore[override]
        size = await _send_copy(self.replica.store, call)
        text = f"the store was backed up: {size:,} bytes"
        call.leader.memory.events.add("backup_taken", text, actor=call.actor)

    @rpc(changing_unless_planned, max_bytes=NAMES_MANY_BYTES)
    async def Recover(self, call: Call, request: cluster.RecoverRequest) -> cluster.RecoverResponse:
        recovery = call.leader.recovery
        if request.begin:
            call.require(WRITERS)
            await recovery.begin(request.begin, call.actor)
            return cluster.RecoverResponse(frozen=True)
        choice = RecoveryChoice(
            request.adopt, dict(request.totals), frozenset(request.absent_hosts)
        )
        ahead = len(call.leader.memory.hosts_ahead())
        if request.plan_only:
            plan = await recovery.plan(choice)
        else:
            plan = await recovery.recover(choice, request.plan_token, call.actor)
        return recover_response(plan, ahead, request.plan_only or not plan.complete)


async def _send_copy(store: Store, call: Call) -> int:
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
            await call.send(chunk)
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
    if plan.too_early > 0:
        parts.append(
            f"wait {math.ceil(plan.too_early)} s more: until then a host that is cut off may obey "
            "an order of a former leader"
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
        change_id=record.change,
    )
