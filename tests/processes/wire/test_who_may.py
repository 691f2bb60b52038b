"""Who may ask what: asked of real daemons over mTLS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from fleet.transport import Identity, Role, channel_options
from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import rebalance_pb2 as rebalance
from fleet.v1 import upgrade_pb2 as upgrade
from fleet.v1.agent_pb2_grpc import AgentServiceStub
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from fleetctl.local.certificate_authority import Authority
from tests.certificates import authority, identity
from tests.processes.daemons import stub_for
from tests.processes.small_cluster import SmallCluster, refused, spec
from tests.processes.wire.callers import HOST, SECONDS, agent_channel, announce, asking

pytest_plugins = ["tests.processes.cluster_fixtures"]

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
