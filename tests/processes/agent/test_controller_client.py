"""What controllers answer to an announcement, as the agent's port has it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from fleet.transport import SERVER_OPTIONS, Refusal, Role, abort
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import cluster_pb2_grpc as cluster_grpc
from fleet.v1 import types_pb2 as types
from fleet_agent.controllers.announcer import AnnounceRefused, ControllerUnreachable, NotLeader
from fleet_agent.controllers.grpc_client import GrpcControllerClient
from fleetctl.local.certificate_authority import Authority
from tests.certificates import identity
from tests.processes.agent.agent_caller import controller_identity

FACTS = types.HostFacts(machine_id="m")


class Replica(cluster_grpc.ClusterServiceServicer):
    """Answers an announcement as told."""

    refusal: Refusal | None = None
    address = ""

    async def Announce(
        self, request: cluster.AnnounceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> cluster.AnnounceResponse:
        if self.refusal is not None:
            await abort(context, self.refusal)
        assert request.facts == FACTS
        return cluster.AnnounceResponse(host_id="dom0-1", announce_again_seconds=45)


@pytest.fixture
async def replica() -> AsyncIterator[Replica]:
    server = grpc.aio.server(options=SERVER_OPTIONS)
    made = Replica()  # type: ignore[abstract]
    cluster_grpc.add_ClusterServiceServicer_to_server(made, server)
    port = server.add_secure_port("127.0.0.1:0", controller_identity().for_server())
    made.address = f"127.0.0.1:{port}"
    await server.start()
    yield made
    await server.stop(None)


@pytest.fixture
def client() -> GrpcControllerClient:
    return GrpcControllerClient(identity(Role.AGENT, "dom0-1"))


async def test_it_says_when_to_announce_again(
    replica: Replica, client: GrpcControllerClient
) -> None:
    assert await client.announce(replica.address, "dom0-1:7441", FACTS) == 45.0


async def test_a_replica_that_does_not_lead_names_the_leader(
    replica: Replica, client: GrpcControllerClient
) -> None:
    where = {"leader_address": "controller-2:7440"}
    replica.refusal = Refusal(
        grpc.StatusCode.FAILED_PRECONDITION, "NOT_LEADER", "not the leader", where
    )
    with pytest.raises(NotLeader) as caught:
        await client.announce(replica.address, "dom0-1:7441", FACTS)
    assert caught.value.leader == "controller-2:7440"


async def test_a_refusal_keeps_its_sentence(replica: Replica, client: GrpcControllerClient) -> None:
    sentence = "host dom0-1 is live with another incarnation"
    replica.refusal = Refusal(grpc.StatusCode.ALREADY_EXISTS, "SECOND_CLAIMANT", sentence)
    with pytest.raises(AnnounceRefused, match=sentence):
        await client.announce(replica.address, "dom0-1:7441", FACTS)


async def test_nobody_there_is_said_so(client: GrpcControllerClient) -> None:
    with pytest.raises(ControllerUnreachable, match=r"controller 127\.0\.0\.1:9: "):
        await client.announce("127.0.0.1:9", "dom0-1:7441", FACTS)


async def test_a_controller_of_another_authority_is_not_told_anything(replica: Replica) -> None:
    stranger = Authority.create("Stranger").identity(Role.AGENT, "dom0-1")
    with pytest.raises(ControllerUnreachable):
        await GrpcControllerClient(stranger).announce(replica.address, "dom0-1:7441", FACTS)
