"""The part of the service that is about machines that become hosts: tokens, joining, renewals."""

from __future__ import annotations

from fleet.transport import Role
from fleet.v1 import joining_pb2 as joining
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer
from fleet_controller.api.authorization import READERS, WRITERS, Call, rpc
from fleet_controller.core.joining.admission import plain_address
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.joining.tokens import wire_token
from fleet_controller.replica.replica import Replica


class JoiningApi(ClusterServiceServicer):
    """Mixed into ClusterApi."""

    replica: Replica

    @rpc(WRITERS)
    async def CreateToken(
        self, call: Call, request: joining.CreateTokenRequest
    ) -> joining.CreateTokenResponse:
        around = call.leader.joining
        try:
            authority = around.authority()
        except ValueError as error:
            message = f"the certificate of the controller that leads: {error}"
            raise Refused(Reason.NO_ISSUING_KEY, message) from error
        made = await call.leader.tokens.create(request, call.actor)
        return joining.CreateTokenResponse(
            token=wire_token(made),
            authority=authority,
            controllers=around.join_addresses(),
        )

    @rpc(READERS, recalls=True)
    async def ListTokens(
        self, call: Call, request: joining.ListTokensRequest
    ) -> joining.ListTokensResponse:
        tokens = sorted(call.leader.memory.state.tokens.values(), key=lambda one: one.created)
        now = call.leader.memory.events.now()
        return joining.ListTokensResponse(tokens=map(wire_token, tokens), now_unix=now)

    @rpc(WRITERS)
    async def RevokeToken(
        self, call: Call, request: joining.RevokeTokenRequest
    ) -> joining.RevokeTokenResponse:
        was = await call.leader.tokens.revoke(request.id, call.actor)
        return joining.RevokeTokenResponse(token=wire_token(was))

    @rpc((Role.CONTROLLER,))
    async def Join(self, call: Call, request: joining.JoinRequest) -> joining.JoinResponse:
        return await call.leader.joins.join(request, plain_address(request.caller_address))

    @rpc((Role.AGENT,))
    async def Renew(self, call: Call, request: joining.RenewRequest) -> joining.RenewResponse:
        return call.leader.renewals.renew(call.peer.name, request)
