"""What daemons offer and what is not there yet: asked of real ones over mTLS."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import types_pb2 as types
from tests.processes.daemons import channel_to
from tests.processes.small_cluster import SmallCluster, refused
from tests.processes.wire.callers import SECONDS, address_of, agent_channel

pytest_plugins = ["tests.processes.cluster_fixtures"]

CLUSTER = wire.DESCRIPTOR.services_by_name["ClusterService"]
AGENT = agent.DESCRIPTOR.services_by_name["AgentService"]


def outcome(channel: grpc.Channel, method: MethodDescriptor) -> None:
    """Call the method with an empty request, and fail as it fails."""
    request = message_factory.GetMessageClass(method.input_type)
    path = f"/{method.containing_service.full_name}/{method.name}"
    kind = f"{'stream' if method.client_streaming else 'unary'}_"
    kind += "stream" if method.server_streaming else "unary"
    call: Any = getattr(channel, kind)(
        path,
        request_serializer=request.SerializeToString,
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    sent: Any = iter([request()]) if method.client_streaming else request()
    answer = call(sent, timeout=SECONDS)
    if method.server_streaming:
        list(answer)


def later(service: ServiceDescriptor, offered: set[str]) -> list[MethodDescriptor]:
    return [method for method in service.methods if method.name not in offered]


def test_what_the_controller_cannot_do_yet_is_unimplemented(cluster: SmallCluster) -> None:
    offered = {
        "Version", "Instant", "ApplyFleet", "ListFleets", "DeleteFleet", "Scale", "Status",
        "WatchStatus", "WatchStates",
        "ListHosts", "GetHost", "SetCordon", "ListVms", "GetVm", "ListEvents", "Announce",
        "Console", "Doctor", "Tune", "ListImages", "ImportImage", "DeleteImage", "Top",
        "Drain", "RemoveHost", "Rollout", "ControlVms",
        "History", "Backup", "Recover",
        "DeclareLost", "ReleaseQuarantine", "ReleaseBreaker", "StandBy", "ResetHost",
        "BoundHost", "PinHost", "ApproveHosts",
        "ExpelHost", "ReadmitHost", "Deny", "Allow", "ListDenied",
        "PutImage", "SpreadImage", "CreateToken", "ListTokens", "RevokeToken", "Join", "Renew",
        "BeginUpgrade", "ControlUpgrade", "GetUpgrade",
        "PlanFleets", "ListGenerations",
        "PlanRebalance", "Rebalance", "StopRebalance",
        "AddPerson", "RemovePerson", "ListPeople", "SetRoleQuota", "SetFleetOwners", "WhoAmI",
        "RunInFleet", "CopyIntoFleet", "CopyFromFleet",
    }  # fmt: skip
    with channel_to(cluster.controller.address) as channel:
        for method in later(CLUSTER, offered):
            with refused(grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED") as said:
                outcome(channel, method)
            assert "yet" in said[0]


def test_what_the_agent_cannot_do_yet_is_unimplemented(cluster: SmallCluster) -> None:
    offered = {
        "Describe", "Assign", "Watch", "Doctor", "Tune", "Console", "Top",
        "ListImages", "ImportImage", "DeleteImage", "Reset",
        "SendImage", "RelayImage", "PutImage", "UpgradeAgent",
        "RunInVms", "CopyIntoVms", "CopyFromVms",
    }  # fmt: skip
    with agent_channel(cluster) as channel:
        for method in later(AGENT, offered):
            with refused(grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED") as said:
                outcome(channel, method)
            assert method.name in said[0]


def test_both_daemons_answer_for_their_health_and_what_they_offer(cluster: SmallCluster) -> None:
    with channel_to(cluster.controller.address) as controller, agent_channel(cluster) as host:
        for channel, service in ((controller, CLUSTER), (host, AGENT)):
            health = health_pb2_grpc.HealthStub(channel)
            for name in ("", service.full_name):
                answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=SECONDS)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            (listed,) = reflection.ServerReflectionInfo(iter([asked]), timeout=SECONDS)
            names = {one.name for one in listed.list_services_response.service}
            assert {service.full_name, "grpc.health.v1.Health"} <= names


# Questions


def test_the_version_names_the_store_and_the_leader(cluster: SmallCluster) -> None:
    answer = cluster.stub.Version(wire.VersionRequest(), timeout=SECONDS)
    assert (answer.leader, answer.durable, answer.replica) == (True, True, "controller-1")
    assert answer.store.startswith("etcd 3.") and cluster.etcd.endpoint in answer.store


def test_vms_are_listed_by_pages_and_filters(cluster: SmallCluster) -> None:
    cluster.apply()
    cluster.scale_and_wait(250)
    seen: list[int] = []
    cursor = ""
    while True:
        request = wire.ListVmsRequest(fleet="spv", limit=99, cursor=cursor)
        page = cluster.stub.ListVms(request, timeout=SECONDS)
        seen += [row.index for row in page.vms]
        assert page.matching == 250
        cursor = page.next_cursor
        if not cursor:
            break
    assert seen == list(range(250))
    uid = cluster.records()["spv"].uid
    host = "hollow-00007"
    mine = cluster.assignments()[host].indices(uid)
    page = cluster.stub.ListVms(wire.ListVmsRequest(fleet="spv", host=host), timeout=SECONDS)
    assert [row.index for row in page.vms] == list(mine)
    detail = cluster.stub.GetVm(wire.GetVmRequest(fleet="spv", index=mine.first), timeout=SECONDS)
    assert (detail.host, detail.state) == (host, types.VM_STATE_RUNNING)
    assert detail.host_address == address_of(cluster, host)
