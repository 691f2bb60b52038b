"""Real processes: hosts that hang, are declared lost and replaced, and come back with their VMs."""

from __future__ import annotations

import grpc

from fleet.v1 import cluster_pb2 as wire
from tests.processes.daemons import eventually, pause, resume
from tests.processes.small_cluster import RUNNING, SmallCluster, refused

pytest_plugins = ["tests.processes.cluster_fixtures"]

SECONDS = 30.0
TOTAL = 24 * 10


def declare(
    cluster: SmallCluster, hosts: list[str], undo: bool = False
) -> wire.DeclareLostResponse:
    request = wire.DeclareLostRequest(hosts=hosts, undo=undo)
    return cluster.stub.DeclareLost(request, timeout=SECONDS)


def test_lost_hosts_are_replaced_and_let_go_of_what_moved_when_they_are_back(
    cluster: SmallCluster,
) -> None:
    cluster.apply()
    cluster.scale_and_wait(TOTAL)
    uid = cluster.records()["spv"].uid
    returned = len(cluster.events("host_returned"))  # of the cluster's earlier days
    alive, hanging = cluster.hollows
    pause(hanging)
    try:
        gone = len(hanging.hosts)
        eventually(lambda: cluster.status().hosts.live == cluster.live - gone, "they are missed")
        answer = declare(cluster, hanging.hosts)
        assert {one.health for one in answer.hosts} == {wire.HOST_HEALTH_LOST}
        status = cluster.until_converged(TOTAL)
        assert (status.duplicates, status.states[RUNNING]) == (gone * 10, TOTAL)
        assert cluster.status().hosts.lost == gone
        assert alive.listing()[uid]["running"] == TOTAL
        assert len(cluster.assigned_once(uid)) == TOTAL
    finally:
        resume(hanging)
    eventually(lambda: cluster.fleet().duplicates == 0, "nothing runs twice")
    eventually(lambda: cluster.status().hosts.live == cluster.live, "all are back")
    assert uid not in hanging.listing()
    cluster.check("spv", TOTAL)
    assert len(cluster.events("host_returned")) == returned + 1
    cluster.scale_and_wait(24 * 40)
    cluster.check("spv", 24 * 40)


def test_a_fleet_deleted_and_made_again_while_hosts_were_away_takes_nothing_of_the_old(
    cluster: SmallCluster,
) -> None:
    cluster.apply()
    cluster.scale_and_wait(TOTAL)
    old = cluster.records()["spv"].uid
    hanging = cluster.hollows[1]
    pause(hanging)
    try:
        gone = len(hanging.hosts)
        eventually(lambda: cluster.status().hosts.live == cluster.live - gone, "they are missed")
        declare(cluster, hanging.hosts)
        cluster.remove("spv")
        cluster.apply()
        cluster.scale_and_wait(TOTAL)
        new = cluster.records()["spv"].uid
    finally:
        resume(hanging)
    eventually(lambda: cluster.status().hosts.lost == 0, "all are back")
    eventually(lambda: old not in hanging.listing(), "the old fleet's VMs are released")
    cluster.scale_and_wait(24 * 40)
    assert new != old and cluster.hollows[0].listing().keys() == {new}
    cluster.check("spv", 24 * 40)


def test_hosts_that_are_live_are_not_lost_whoever_says_so(cluster: SmallCluster) -> None:
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "HOST_LIVE") as said:
        declare(cluster, cluster.hosts[:7])
    assert "and 2 more are live and cannot be lost" in said[0]
    with refused(grpc.StatusCode.NOT_FOUND, "NO_SUCH_HOST"):
        declare(cluster, ["nobody"])
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "WHICH_HOST"):
        declare(cluster, [])
    assert cluster.status().hosts.lost == 0


def test_a_breaker_is_released_for_a_time_and_no_longer(cluster: SmallCluster) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "BAD_QUERY"):
        cluster.stub.ReleaseBreaker(wire.ReleaseBreakerRequest(seconds=1e9), timeout=SECONDS)
    answer = cluster.stub.ReleaseBreaker(wire.ReleaseBreakerRequest(seconds=60), timeout=SECONDS)
    assert answer.waiting_hosts == 0
    assert not cluster.status().HasField("breaker")
    assert len(cluster.events("breaker_released")) >= 1
