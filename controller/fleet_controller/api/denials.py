"""The part of the service that is about who is denied: hosts expelled, people and controllers."""

from __future__ import annotations

from fleet.transport import Peer, Role
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer
from fleet_controller.api.authorization import (
    READERS,
    WRITERS,
    Call,
    changing_unless_planned,
    rpc,
)
from fleet_controller.api.callers import CallsUnderWay
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.replica.replica import Replica

_DENIABLE = (Role.OPERATOR, Role.VIEWER, Role.CONTROLLER)


class DenialsApi(ClusterServiceServicer):
    """Mixed into ClusterApi."""

    replica: Replica
    calls: CallsUnderWay

    @rpc(changing_unless_planned)
    async def ExpelHost(
        self, call: Call, request: cluster.ExpelHostRequest
    ) -> cluster.ExpelHostResponse:
        record = call.leader.memory.state.hosts.get(request.id)
        if request.plan_only:
            count = call.leader.denials.given_up_by(request.id)
        else:
            count = await call.leader.denials.expel(request.id, request.reason, call.actor)
            self.calls.end(str(Peer(Role.AGENT, request.id)))
        address = record.address if record else ""
        return cluster.ExpelHostResponse(vms=count, known=record is not None, address=address)

    @rpc(WRITERS)
    async def ReadmitHost(
        self, call: Call, request: cluster.ReadmitHostRequest
    ) -> cluster.ReadmitHostResponse:
        await call.leader.denials.readmit(request.id, call.actor)
        known = request.id in call.leader.memory.state.hosts
        return cluster.ReadmitHostResponse(known=known)

    @rpc(WRITERS)
    async def Deny(self, call: Call, request: cluster.DenyRequest) -> cluster.DenyResponse:
        who = _who(request.role, request.name)
        await call.leader.denials.deny(who, request.reason, call.actor, call.peer)
        self.calls.end(str(who))
        return cluster.DenyResponse()

    @rpc(WRITERS)
    async def Allow(self, call: Call, request: cluster.AllowRequest) -> cluster.AllowResponse:
        await call.leader.denials.allow(_who(request.role, request.name), call.actor)
        return cluster.AllowResponse()

    @rpc(READERS, recalls=True)
    async def ListDenied(
        self, call: Call, request: cluster.ListDeniedRequest
    ) -> cluster.ListDeniedResponse:
        denied = call.leader.memory.state.denied
        return cluster.ListDeniedResponse(
            denied=[
                cluster.Denied(
                    role=one.role,
                    name=one.name,
                    reason=one.reason,
                    actor=one.actor,
                    since_unix=one.since,
                )
                for _, one in sorted(denied.items())
            ]
        )


def _who(role: str, name: str) -> Peer:
    """Raises Refused."""
    if role not in _DENIABLE:
        raise Refused(
            Reason.BAD_QUERY,
            f"{role[:40]!r} is none of the roles {', '.join(_DENIABLE)}; a host is expelled "
            "instead (fleetctl hosts expel)",
        )
    return Peer(Role(role), name)
