"""The port at which machines without a certificate join: one call, small, and few at once.

Only the controller shows a certificate here, so this port is another than that of all other calls,
where nothing is said before both have. Nobody's name counts, as nobody has shown any: callers are
told apart by the address they call from. A replica that stands by passes the call on to the leader.
"""

from __future__ import annotations

from urllib.parse import unquote

import grpc

from fleet.certificates.live_identity import LiveIdentity
from fleet.service import Context
from fleet.serving.call_counts import CallBounds, CallCounts
from fleet.serving.gate import Gate, Rule, ruled, rules_of
from fleet.serving.server_options import server_options
from fleet.transport import UNMEASURED, Peer, Refusal, Role, abort, detail_of
from fleet.v1 import joining_pb2 as joining
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from fleet.v1.joining_pb2_grpc import JoinServiceServicer, add_JoinServiceServicer_to_server
from fleet_controller.api.refusals import refusal_of
from fleet_controller.core.joining.admission import neighbourhood, plain_address
from fleet_controller.replica.forwarding import LeaderChannel
from fleet_controller.replica.replica import NotLeading, Replica

SERVICE = joining.DESCRIPTOR.services_by_name["JoinService"]
# A request has a name, a key and a token: half a KiB.
MAX_REQUEST_BYTES = 8 * 1024
# A machine joins by one call; many may stand behind one address.
_STREAMS = 4
_BOUNDS = CallBounds(in_all=512, by_role={Role.AGENT: 256})
# A connection without a call: strangers hold none that others could have.
_IDLE_MS = 10_000
# The leader writes it to the store before it answers.
PASS_ON_SECONDS = 10.0


class JoinApi(JoinServiceServicer):
    """Of one replica."""

    def __init__(self, replica: Replica, leader: LeaderChannel) -> None:
        self._replica = replica
        self._leader = leader

    @ruled(Rule(max_bytes=MAX_REQUEST_BYTES))
    async def Join(self, request: joining.JoinRequest, context: Context) -> joining.JoinResponse:
        address = address_of(context.peer())
        try:
            if self._replica.other_leader is None:
                return await self._replica.leader().joins.join(request, address)
            return await self._passed_on(request, address)
        except Exception as error:
            await abort(context, refusal_of(error))

    async def _passed_on(self, request: joining.JoinRequest, address: str) -> joining.JoinResponse:
        """Raises Refusal, NotLeading."""
        leader = self._replica.other_leader
        if leader is None:
            raise NotLeading("who leads has just changed", "")
        request.caller_address = address
        try:
            channel = await self._leader.connected(leader.address)
            stub = ClusterServiceStub(channel)
            answer: joining.JoinResponse = await stub.Join(request, timeout=PASS_ON_SECONDS)
            return answer
        except ConnectionError as error:
            raise NotLeading(
                f"the controller that leads, {leader.replica}, is silent", ""
            ) from error
        except grpc.aio.AioRpcError as error:
            raise _as_it_was(error) from error


def join_server(
    listen: str, api: JoinApi, identity: LiveIdentity, connections: int
) -> tuple[grpc.aio.Server, int]:
    """Not started; and its port. Raises RuntimeError where it cannot listen."""
    gate = Gate(rules_of(api, SERVICE), _admit, CallCounts(_BOUNDS))
    options = server_options(MAX_REQUEST_BYTES, _STREAMS, connections, _IDLE_MS)
    options.append(UNMEASURED)
    server = grpc.aio.server(interceptors=(gate,), options=options)
    add_JoinServiceServicer_to_server(api, server)
    return server, server.add_secure_port(listen, identity.for_join_server())


def address_of(peer: str) -> str:
    """The address alone, from gRPC's `ipv4:ADDRESS:PORT` or `ipv6:%5BADDRESS%5D:PORT`; empty for
    what is none."""
    return plain_address(unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]"))


def _admit(context: Context, rule: Rule) -> Peer:
    """By address alone, to be counted: nothing is allowed by this."""
    return Peer(Role.AGENT, neighbourhood(address_of(context.peer())))


def _as_it_was(error: grpc.aio.AioRpcError) -> Exception:
    """The leader's refusal, for the caller."""
    detail = detail_of(error)
    if not detail.reason:
        return NotLeading("the controller that leads went away before it had answered", "")
    return Refusal(error.code(), detail.reason, error.details() or "", detail.metadata)
