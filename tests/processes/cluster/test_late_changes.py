"""A change is begun while it is waited for, or not at all: whoever is stopped meanwhile.

Here no call is ended by its caller, so that nothing but its bound can hold it back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from fleet.changes.change_deadline import CHANGE_DEADLINE_METADATA
from fleet.transport import detail_of
from fleet.v1 import cluster_pb2 as wire
from tests.processes.daemons import Controller, eventually, pause, resume
from tests.processes.replicated_cluster import ReplicatedCluster
from tests.processes.small_cluster import refused, spec

SECONDS = 60.0
# How long a change is waited for here.
PATIENCE = 1.0


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicatedCluster]:
    """Leases are so long that whoever leads still does so when it wakes."""
    folder = tmp_path_factory.mktemp("late")
    with ReplicatedCluster(
        folder, hosts=4, per_host=20, processes=1, members=1, lease_seconds=60
    ) as cluster:
        cluster.client().change(
            lambda stub: stub.ApplyFleet, wire.ApplyFleetRequest(name="spv", spec=spec())
        )
        yield cluster


def instant(replicas: ReplicatedCluster) -> wire.InstantResponse:
    stub = replicas.stubs[replicas.leader().name]
    return stub.Instant(wire.InstantRequest(), timeout=SECONDS)


def bound(now: wire.InstantResponse, seconds: float) -> tuple[tuple[str, str], ...]:
    return ((CHANGE_DEADLINE_METADATA, f"{now.seconds + seconds:.3f} {now.leadership}"),)


@contextmanager
def asked_while_stopped(
    replicas: ReplicatedCluster, one: Controller, total: int
) -> Iterator[grpc.Future[wire.ScaleResponse]]:
    """A scale that lies in the controller's socket, and is in time no more when that wakes."""
    now = instant(replicas)
    request = wire.ScaleRequest(fleet="spv", total=total)
    pause(one)
    try:
        call = replicas.stubs[one.name].Scale.future(
            request, timeout=SECONDS, metadata=bound(now, PATIENCE)
        )
        yield call
        # The leader's clock is this machine's; it may be stopped itself, and tell nobody.
        eventually(lambda: time.monotonic() > now.seconds + PATIENCE, "it is too late")
    finally:
        resume(one)


def scale(replicas: ReplicatedCluster, total: int) -> None:
    replicas.client().change(
        lambda stub: stub.Scale, wire.ScaleRequest(fleet="spv", total=total), again=True
    )


def assert_late(call: grpc.Future[wire.ScaleResponse]) -> None:
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "LATE") as said:
        call.result(timeout=SECONDS)
    assert "nothing was changed" in said[0]


def test_what_a_standby_wakes_to_pass_on_is_not_done_when_nobody_waits_for_it(
    replicas: ReplicatedCluster,
) -> None:
    scale(replicas, 10)
    with asked_while_stopped(replicas, replicas.standbys()[0], 70) as call:
        scale(replicas, 30)  # what the operator asked another controller for instead
    assert_late(call)
    assert replicas.total("spv") == 30


def test_what_a_leader_wakes_to_read_is_not_done_when_nobody_waits_for_it(
    replicas: ReplicatedCluster,
) -> None:
    scale(replicas, 10)
    leader = replicas.leader()
    with asked_while_stopped(replicas, leader, 70) as call:
        pass
    assert_late(call)
    assert replicas.leader() is leader, "its lease was long enough"
    assert replicas.total("spv") == 10


def test_what_is_in_time_is_done(replicas: ReplicatedCluster) -> None:
    stub = replicas.stubs[replicas.standbys()[0].name]
    request = wire.ScaleRequest(fleet="spv", total=12)
    told = bound(instant(replicas), SECONDS)
    assert stub.Scale(request, timeout=SECONDS, metadata=told).total == 12


def test_without_a_bound_a_change_is_done_whenever_it_comes(replicas: ReplicatedCluster) -> None:
    """As older clients ask."""
    stub = replicas.stubs[replicas.standbys()[0].name]
    assert stub.Scale(wire.ScaleRequest(fleet="spv", total=13), timeout=SECONDS).total == 13


@pytest.mark.parametrize("told", ["soon", "", "nan", "12.0", "99999999.0 somebody else 1.1"])
def test_a_bound_that_is_none_of_this_leadership_lets_nothing_through(
    replicas: ReplicatedCluster, told: str
) -> None:
    before = replicas.total("spv")
    stub = replicas.stubs[replicas.leader().name]
    with pytest.raises(grpc.RpcError) as error:
        request = wire.ScaleRequest(fleet="spv", total=99)
        stub.Scale(request, timeout=SECONDS, metadata=((CHANGE_DEADLINE_METADATA, told),))
    assert detail_of(error.value).reason == "LATE"
    assert replicas.total("spv") == before


def test_a_bound_is_no_number_of_the_leadership_that_it_names(replicas: ReplicatedCluster) -> None:
    name = instant(replicas).leadership
    stub = replicas.stubs[replicas.leader().name]
    for number, reason in (("soon", "BAD_QUERY"), ("nan", "LATE"), ("-inf", "LATE")):
        with pytest.raises(grpc.RpcError) as error:
            request = wire.ScaleRequest(fleet="spv", total=99)
            told = ((CHANGE_DEADLINE_METADATA, f"{number} {name}"),)
            stub.Scale(request, timeout=SECONDS, metadata=told)
        assert detail_of(error.value).reason == reason


def test_fleetctl_passes_by_a_stopped_controller_with_what_may_be_done_only_once(
    replicas: ReplicatedCluster,
) -> None:
    """It has asked that one for the time alone, so it is certain that nothing was begun."""
    scale(replicas, 10)
    eventually(lambda: replicas.status("spv").fleets[0].converged, "10 VMs run")
    stopped, other = replicas.standbys()
    pause(stopped)
    try:
        client = replicas.client((stopped.address, other.address))
        client.change_timeout = 4.0
        action = wire.ControlVmsRequest.ACTION_RESTART
        answer = client.change(
            lambda stub: stub.ControlVms, wire.ControlVmsRequest(fleet="spv", action=action)
        )
        assert answer.vms == 10
    finally:
        resume(stopped)
