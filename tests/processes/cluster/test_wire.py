"""Who may ask what, and what is not there yet: asked of real daemons over mTLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from fleet.changes.change_id import CHANGE_METADATA
from fleet.transport import Identity, Role, channel_options, dns_name
from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import rebalance_pb2 as rebalance
from fleet.v1 import types_pb2 as types
from fleet.v1 import upgrade_pb2 as upgrade
from fleet.v1.agent_pb2_grpc import AgentServiceStub
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from fleetctl.local.certificate_authority import Authority
from tests.certificates import authority, identity
from tests.processes.daemons import channel_to, eventually, stub_for
from tests.processes.small_cluster import SmallCluster, refused, spec

pytest_plugins = ["tests.processes.cluster_fixtures"]

CLUSTER = wire.DESCRIPTOR.services_by_name["ClusterService"]
AGENT = agent.DESCRIPTOR.services_by_name["AgentService"]
SECONDS = 30.0
HOST = "hollow-00001"
STOP = wire.ControlVmsRequest.ACTION_STOP
START = wire.RolloutRequest.ACTION_START


def planned(request: Any) -> Any:
    """The request as one that only asks what would be."""
    request.plan_only = True
    return request


READS: list[Callable[[ClusterServiceStub], object]] = [
    lambda s: s.PlanFleets(
        wire.PlanFleetsRequest(fleets=[wire.ApplyFleetRequest(name="x", spec=spec())], prune=True),
        timeout=SECONDS,
    ),
    lambda s: s.PlanRebalance(rebalance.RebalanceRequest(), timeout=SECONDS),
    lambda s: s.ListGenerations(wire.ListGenerationsRequest(fleet="spv"), timeout=SECONDS),
    lambda s: s.ListFleets(wire.ListFleetsRequest(), timeout=SECONDS),
    lambda s: s.Status(wire.StatusRequest(), timeout=SECONDS),
    lambda s: next(iter(s.WatchStatus(wire.WatchStatusRequest(), timeout=SECONDS))),
    lambda s: s.ListHosts(wire.ListHostsRequest(), timeout=SECONDS),
    lambda s: s.GetHost(wire.GetHostRequest(id="hollow-00001"), timeout=SECONDS),
    lambda s: s.ListVms(wire.ListVmsRequest(), timeout=SECONDS),
    lambda s: s.GetVm(wire.GetVmRequest(), timeout=SECONDS),
    lambda s: s.ListEvents(wire.ListEventsRequest(), timeout=SECONDS),
    lambda s: s.Scale(wire.ScaleRequest(plan_only=True), timeout=SECONDS),
    lambda s: s.History(wire.HistoryRequest(), timeout=SECONDS),
    lambda s: s.ListImages(wire.ListClusterImagesRequest(), timeout=SECONDS),
    lambda s: next(iter(s.Drain(planned(wire.DrainRequest(host=HOST)), timeout=SECONDS))),
    lambda s: s.BeginUpgrade(planned(upgrade.BeginUpgradeRequest()), timeout=SECONDS),
    lambda s: s.ControlVms(planned(wire.ControlVmsRequest(action=STOP)), timeout=SECONDS),
]
UPGRADE = upgrade.BeginUpgradeRequest(version="9.9.9")
HALT = upgrade.ControlUpgradeRequest(action=upgrade.ControlUpgradeRequest.ACTION_HALT)
WRITES: list[Callable[[ClusterServiceStub], object]] = [
    lambda s: s.ApplyFleet(wire.ApplyFleetRequest(name="x", spec=spec()), timeout=SECONDS),
    lambda s: s.DeleteFleet(wire.DeleteFleetRequest(name="spv"), timeout=SECONDS),
    lambda s: s.Scale(wire.ScaleRequest(fleet="spv", total=1), timeout=SECONDS),
    lambda s: s.Rebalance(rebalance.RebalanceRequest(fleet="spv"), timeout=SECONDS),
    lambda s: s.StopRebalance(rebalance.StopRebalanceRequest(), timeout=SECONDS),
    lambda s: s.SetCordon(wire.SetCordonRequest(id="hollow-00001"), timeout=SECONDS),
    lambda s: next(iter(s.Drain(wire.DrainRequest(host=HOST), timeout=SECONDS))),
    lambda s: s.BeginUpgrade(UPGRADE, timeout=SECONDS),
    lambda s: s.ControlUpgrade(HALT, timeout=SECONDS),
    lambda s: s.RemoveHost(wire.RemoveHostRequest(host=HOST), timeout=SECONDS),
    lambda s: s.ControlVms(wire.ControlVmsRequest(action=STOP), timeout=SECONDS),
    lambda s: s.Rollout(wire.RolloutRequest(action=START), timeout=SECONDS),
    lambda s: list(s.Backup(wire.BackupRequest(), timeout=SECONDS)),
    lambda s: s.DeclareLost(wire.DeclareLostRequest(hosts=["hollow-00001"]), timeout=SECONDS),
    lambda s: s.ReleaseQuarantine(
        wire.ReleaseQuarantineRequest(host="hollow-00001"), timeout=SECONDS
    ),
    lambda s: s.ReleaseBreaker(wire.ReleaseBreakerRequest(), timeout=SECONDS),
    lambda s: s.BoundHost(wire.BoundHostRequest(host=HOST, max_guests=1), timeout=SECONDS),
    lambda s: s.PinHost(wire.PinHostRequest(host=HOST), timeout=SECONDS),
    lambda s: s.ApproveHosts(wire.ApproveHostsRequest(hosts=[HOST]), timeout=SECONDS),
]


def announce(stub: ClusterServiceStub, address: str) -> wire.AnnounceResponse:
    facts = types.HostFacts(incarnation="i", capacity=types.Capacity(guests=5))
    return stub.Announce(wire.AnnounceRequest(address=address, facts=facts), timeout=SECONDS)


@contextmanager
def asking(cluster: SmallCluster, who: Identity | None) -> Iterator[ClusterServiceStub]:
    with channel_to(cluster.controller.address, who) as channel:
        yield stub_for(channel)


def address_of(cluster: SmallCluster, host: str) -> str:
    request = wire.GetHostRequest(id=host)
    return cluster.stub.GetHost(request, timeout=SECONDS).summary.address


@contextmanager
def agent_channel(
    cluster: SmallCluster, role: Role = Role.CONTROLLER, host: str = "hollow-00001"
) -> Iterator[grpc.Channel]:
    options = channel_options(dns_name(Role.AGENT, host))
    credentials = identity(role, "tester").for_channel()
    address = address_of(cluster, "hollow-00001")
    with grpc.secure_channel(address, credentials, options) as channel:
        yield channel


# Who may


def test_a_viewer_reads_everything_and_writes_nothing(cluster: SmallCluster) -> None:
    cluster.apply()
    cluster.scale_and_wait(1)
    with asking(cluster, identity(Role.VIEWER, "eve")) as stub:
        for read in READS:
            read(stub)
        for write in WRITES:
            with refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED") as said:
                write(stub)
            assert said[0] == "viewer/eve may not do this; it takes the role operator"
    cluster.check("spv", 1)


@pytest.mark.parametrize("role", [Role.AGENT, Role.CONTROLLER])
def test_agents_and_controllers_neither_read_nor_write(cluster: SmallCluster, role: Role) -> None:
    with asking(cluster, identity(role, "hollow-00001")) as stub:
        for call in READS + WRITES:
            with refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"):
                call(stub)


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.VIEWER, Role.AGENT])
def test_only_controllers_stand_by(cluster: SmallCluster, role: Role) -> None:
    hello = wire.StandByAnswer(replica="controller-9")
    with (
        asking(cluster, identity(role, "hollow-00001")) as stub,
        refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"),
    ):
        next(stub.StandBy(iter([hello]), timeout=SECONDS))


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.VIEWER, Role.CONTROLLER])
def test_only_agents_announce_hosts(cluster: SmallCluster, role: Role) -> None:
    with (
        asking(cluster, identity(role, "hollow-00001")) as stub,
        refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"),
    ):
        announce(stub, "127.0.0.1:1")


def test_a_certificate_without_a_role_is_told_to_get_one(cluster: SmallCluster) -> None:
    ours = authority()
    issued = ours.issue_server("somebody", ["somebody.example"])
    with asking(cluster, Identity(ours.certificate, issued.certificate, issued.key)) as stub:
        for call in READS + WRITES:
            with refused(grpc.StatusCode.UNAUTHENTICATED, "NO_ROLE") as said:
                call(stub)
            assert "fleetctl certs user" in said[0]


def test_strangers_do_not_get_as_far_as_asking(cluster: SmallCluster) -> None:
    ours = identity(Role.OPERATOR, "tester")
    foreign = Authority.create("Foreign").identity(Role.OPERATOR, "tester")
    callers = {
        "another authority's certificate": Identity(ours.ca, foreign.certificate, foreign.key),
        "another authority altogether": foreign,
    }
    for who, caller in callers.items():
        with asking(cluster, caller) as stub, pytest.raises(grpc.RpcError) as refusal:
            stub.Status(wire.StatusRequest(), timeout=SECONDS)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE, who
    no_certificate = grpc.ssl_channel_credentials(ours.ca)
    address = cluster.controller.address
    for channel in (
        grpc.secure_channel(address, no_certificate, channel_options("controller.megafleet")),
        grpc.insecure_channel(address),
    ):
        with channel, pytest.raises(grpc.RpcError) as refusal:
            stub_for(channel).Status(wire.StatusRequest(), timeout=SECONDS)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.VIEWER, Role.AGENT])
def test_an_agent_obeys_controllers_alone(cluster: SmallCluster, role: Role) -> None:
    with agent_channel(cluster, role) as channel:
        stub = AgentServiceStub(channel)
        calls: list[Callable[[], object]] = [
            lambda: stub.Assign(agent.AssignRequest(host_id="hollow-00001"), timeout=SECONDS),
            lambda: stub.Describe(agent.DescribeRequest(), timeout=SECONDS),
            lambda: next(iter(stub.Watch(iter([agent.WatchRequest()]), timeout=SECONDS))),
        ]
        for call in calls:
            with refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"):
                call()


def test_a_controller_of_an_older_term_is_told_so_by_the_agent(cluster: SmallCluster) -> None:
    with agent_channel(cluster) as channel:
        stub = AgentServiceStub(channel)
        old = types.Term(store_generation=1, revision=1)
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "STALE_TERM"):
            stub.Assign(agent.AssignRequest(host_id="hollow-00001", term=old), timeout=SECONDS)
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "WRONG_HOST"):
            stub.Assign(agent.AssignRequest(host_id="hollow-00002"), timeout=SECONDS)


def test_a_host_that_answers_with_anothers_certificate_is_not_linked_to(
    expendable: SmallCluster,
) -> None:
    expendable.apply()
    elsewhere = address_of(expendable, "hollow-00001")
    with asking(expendable, identity(Role.AGENT, "impostor")) as stub:
        assert announce(stub, elsewhere).host_id == "impostor"
    request = wire.GetHostRequest(id="impostor")

    def error() -> str:
        return expendable.stub.GetHost(request, timeout=SECONDS).summary.link_error

    said = eventually(error, "the impostor is dialled")
    assert said.startswith(f"impostor at {elsewhere}")
    summary = expendable.stub.GetHost(request, timeout=SECONDS).summary
    assert (summary.health, summary.assigned) == (wire.HOST_HEALTH_UNREACHABLE, 0)
    expendable.scale_and_wait(40)
    expendable.check("spv", 40)
    assert "impostor" not in expendable.assignments()


# What is not there yet


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


@pytest.mark.parametrize(
    "request_",
    [
        wire.ListVmsRequest(indices=[types.IndexRange(start=5, stop=5)]),
        wire.ListVmsRequest(indices=[types.IndexRange(start=9, stop=2)]),
        wire.ListVmsRequest(cursor="99999999999999999999999"),
        wire.ListVmsRequest(cursor="../../x"),
        wire.ListVmsRequest(cursor="-1"),
    ],
)
def test_broken_questions_are_a_mistake_of_the_asker(
    cluster: SmallCluster, request_: wire.ListVmsRequest
) -> None:
    cluster.apply()
    cluster.scale_and_wait(10)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "BAD_QUERY"):
        cluster.stub.ListVms(request_, timeout=SECONDS)


@pytest.mark.parametrize(
    "request_",
    [
        wire.ListVmsRequest(limit=2**32 - 1),
        wire.ListVmsRequest(indices=[types.IndexRange(start=2**32 - 2, stop=2**32 - 1)]),
        wire.ListVmsRequest(state=99),  # type: ignore[arg-type]
        wire.ListVmsRequest(state=-1),  # type: ignore[arg-type]
        wire.ListVmsRequest(cursor=str(2**24 - 1)),
    ],
)
def test_odd_questions_get_an_answer(cluster: SmallCluster, request_: wire.ListVmsRequest) -> None:
    cluster.apply()
    cluster.scale_and_wait(10)
    assert cluster.stub.ListVms(request_, timeout=SECONDS).matching in (0, 10)


@pytest.mark.parametrize(
    "name", ["", "-a", "a/b", "..", "a@b", "a\nb", "A", "x" * 41, "spv\x00", "<domain>"]
)
def test_hostile_names_of_fleets_are_refused(cluster: SmallCluster, name: str) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "BAD_SPEC") as said:
        cluster.apply(name)
    assert "a fleet's name is" in said[0]


@pytest.mark.parametrize(
    "address", ["", "x", "h:0", "h:70000", "unix:/run/x:1", "ipv4:1.2.3.4:5", "a b:1", "h:1\n"]
)
def test_hostile_addresses_of_hosts_are_refused(cluster: SmallCluster, address: str) -> None:
    with asking(cluster, identity(Role.AGENT, "stray")) as stub:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "BAD_ANNOUNCE"):
            announce(stub, address)
    assert "stray" not in cluster.stored("hosts/")


def test_hosts_that_say_too_much_of_themselves_are_refused(cluster: SmallCluster) -> None:
    long = "x" * 300
    for facts in (
        types.HostFacts(labels={f"k{i}": "v" for i in range(100)}),
        types.HostFacts(labels={"k": long}),
        types.HostFacts(labels={long: "v"}),
        types.HostFacts(hypervisor=long),
        types.HostFacts(machine_id=long),
    ):
        with asking(cluster, identity(Role.AGENT, "stray")) as stub:
            with refused(grpc.StatusCode.INVALID_ARGUMENT, "BAD_ANNOUNCE"):
                request = wire.AnnounceRequest(address="127.0.0.1:1", facts=facts)
                stub.Announce(request, timeout=SECONDS)
    assert "stray" not in cluster.stored("hosts/")


# A store that is full


def test_a_full_etcd_refuses_changes_until_it_has_room_again(expendable: SmallCluster) -> None:
    cluster = expendable
    cluster.apply()
    cluster.scale_and_wait(20)
    cluster.fill_etcd()
    with refused(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE") as said:
        cluster.scale(40)
    assert "nothing was changed" in said[0] and "its database is full" in said[0]
    cluster.check("spv", 20)
    assert cluster.fleet().converged
    cluster.make_room_in_etcd()
    cluster.scale_and_wait(40)
    cluster.check("spv", 40)


def test_an_id_of_a_change_that_is_none_is_refused(cluster: SmallCluster) -> None:
    request = wire.SetCordonRequest(id=HOST, cordoned=True)
    for wrong in ("", "No Id", "x" * 41, "a/b"):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "BAD_QUERY") as said:
            cluster.stub.SetCordon(request, timeout=SECONDS, metadata=((CHANGE_METADATA, wrong),))
        assert "is no id of a change" in said[0]
    shown = cluster.stub.ListHosts(wire.ListHostsRequest(cordoned_only=True), timeout=SECONDS)
    assert not shown.hosts, "nothing was changed"
