"""Refusals that travel: each arrives with its reason, and nothing was changed."""

from __future__ import annotations

import grpc

from fleet.changes.change_id import CHANGE_METADATA
from fleet.transport import Role
from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.v1.agent_pb2_grpc import AgentServiceStub
from tests.certificates import identity
from tests.processes.daemons import eventually
from tests.processes.small_cluster import SmallCluster, refused
from tests.processes.wire.callers import HOST, SECONDS, address_of, agent_channel, announce, asking

pytest_plugins = ["tests.processes.cluster_fixtures"]


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
