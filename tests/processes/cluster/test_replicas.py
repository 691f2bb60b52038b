"""Several controllers: any of them answers for the one that leads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from fleet.transport import CALLER_METADATA, TAKEN_METADATA, Identity, Role
from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as wire
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from tests.certificates import identity
from tests.processes.daemons import channel_to, eventually, stub_for
from tests.processes.replicated_cluster import ReplicatedCluster
from tests.processes.small_cluster import refused, spec

SECONDS = 20.0


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicatedCluster]:
    """4 hosts of 10 VMs, three controllers on one etcd. Its processes are not to be touched."""
    folder = tmp_path_factory.mktemp("replicas")
    with ReplicatedCluster(folder, hosts=4, per_host=10, processes=1, members=1) as cluster:
        request = wire.ApplyFleetRequest(name="spv", spec=spec())
        cluster.stubs[cluster.leader().name].ApplyFleet(request, timeout=SECONDS)
        yield cluster


@contextmanager
def asking_a_standby(
    replicas: ReplicatedCluster, who: Identity | None = None
) -> Iterator[ClusterServiceStub]:
    with channel_to(replicas.standbys()[0].address, who) as channel:
        yield stub_for(channel)


def running(replicas: ReplicatedCluster, total: int) -> str:
    """The uid of the fleet once so many of its VMs run; empty before."""
    found = replicas.status("spv").fleets[0]
    return found.uid if found.converged and found.total == total else ""


def test_a_standby_passes_on_changes_and_who_asked_for_them(replicas: ReplicatedCluster) -> None:
    with asking_a_standby(replicas) as stub:
        answer = stub.Scale(wire.ScaleRequest(fleet="spv", total=7), timeout=SECONDS)
        assert answer.total == 7
        events = stub.ListEvents(wire.ListEventsRequest(), timeout=SECONDS).events
    actor = [one.actor for one in events if one.kind == "fleet_scaled"][-1]
    assert actor.startswith("operator/tester via controller/")


def test_a_standby_passes_on_the_states_of_vms(replicas: ReplicatedCluster) -> None:
    with asking_a_standby(replicas) as stub:
        watch = stub.WatchStates(wire.WatchStatesRequest(), timeout=SECONDS)
        first = next(watch)
        assert [one.cells for one in first.layout.hosts] == [10] * 4
        assert first.number and first.cells
        watch.cancel()


def test_a_standby_passes_on_streams_as_they_come(replicas: ReplicatedCluster) -> None:
    with asking_a_standby(replicas) as stub:
        request = wire.WatchStatusRequest(fleet="spv", interval_ms=50)
        watch = stub.WatchStatus(request, timeout=SECONDS)
        stub.Scale(wire.ScaleRequest(fleet="spv", total=9), timeout=SECONDS)
        assert any(one.fleets[0].converged and one.fleets[0].total == 9 for one in watch)
        watch.cancel()


def test_a_console_is_held_through_a_standby_until_its_reader_goes(
    replicas: ReplicatedCluster,
) -> None:
    with asking_a_standby(replicas) as stub:
        stub.Scale(wire.ScaleRequest(fleet="spv", total=2), timeout=SECONDS)
        uid = eventually(lambda: running(replicas, 2), "2 VMs run")
        vm = agent.VmAddress(fleet_uid=uid, index=1)
        opening = agent.ConsoleInput(vm=vm, rows=24, columns=80, log_bytes=1000)
        gone = threading.Event()

        def typed() -> Iterator[agent.ConsoleInput]:
            yield opening
            yield agent.ConsoleInput(data=b"echo\r")
            gone.wait(SECONDS)

        call = stub.Console(typed(), timeout=SECONDS)
        assert (TAKEN_METADATA, "1") in list(call.initial_metadata())
        assert b"hollow guest" in next(one.data for one in call if one.data)
        assert any(b"echo" in one.data for one in call)
        assert not next(stub.Console(iter([opening]), timeout=SECONDS)).writing
        call.cancel()
        gone.set()
        # The host learns that whoever typed is gone, and lets another one type.
        eventually(
            lambda: next(stub.Console(iter([opening]), timeout=SECONDS)).writing, "the seat is free"
        )


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AGENT, Role.CONTROLLER])
def test_through_a_standby_nobody_may_more_than_the_leader_allows(
    replicas: ReplicatedCluster, role: Role
) -> None:
    with asking_a_standby(replicas, identity(role, "bob")) as stub:
        if role is Role.CONTROLLER:
            # One that passes a call on, or acts for itself: it is told where the leader is.
            with refused(grpc.StatusCode.FAILED_PRECONDITION, "NOT_LEADER"):
                stub.Scale(wire.ScaleRequest(fleet="spv", total=1), timeout=SECONDS)
            return
        with refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED") as said:
            stub.Scale(wire.ScaleRequest(fleet="spv", total=1), timeout=SECONDS)
    assert said[0].startswith(f"{role}/bob may not do this; it takes the role operator")


@pytest.mark.parametrize("at", ["leader", "standby"])
def test_nobody_but_a_controller_is_believed_for_whom_it_asks(
    replicas: ReplicatedCluster, at: str
) -> None:
    where = replicas.leader() if at == "leader" else replicas.standbys()[0]
    with channel_to(where.address, identity(Role.VIEWER, "bob")) as channel:
        with refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"):
            stub_for(channel).Scale(
                wire.ScaleRequest(fleet="spv", total=1),
                timeout=SECONDS,
                metadata=((CALLER_METADATA, "operator/alice"),),
            )


def test_a_controller_without_anybody_to_ask_for_may_do_nothing(
    replicas: ReplicatedCluster,
) -> None:
    own = identity(Role.CONTROLLER, "controller-9")
    with channel_to(replicas.leader().address, own) as channel:
        with refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"):
            stub_for(channel).Status(wire.StatusRequest(), timeout=SECONDS)


def test_a_standby_has_no_standbys(replicas: ReplicatedCluster) -> None:
    """Whoever takes it for the leader is told who leads; the call is not passed on."""
    hello = wire.StandByAnswer(replica="controller-9")
    with asking_a_standby(replicas, identity(Role.CONTROLLER, "controller-9")) as stub:
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "NOT_LEADER"):
            next(stub.StandBy(iter([hello]), timeout=SECONDS))


def test_refusals_pass_with_their_reasons(replicas: ReplicatedCluster) -> None:
    with asking_a_standby(replicas) as stub:
        with refused(grpc.StatusCode.NOT_FOUND, "NO_SUCH_FLEET"):
            stub.Scale(wire.ScaleRequest(fleet="other", total=1), timeout=SECONDS)


def test_the_callers_deadline_and_its_leaving_pass_to_the_leader(
    replicas: ReplicatedCluster,
) -> None:
    with asking_a_standby(replicas) as stub:
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as late:
            list(stub.WatchStatus(wire.WatchStatusRequest(fleet="spv"), timeout=0.5))
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 5
        watch = stub.WatchStatus(wire.WatchStatusRequest(fleet="spv"), timeout=SECONDS)
        next(watch)
        watch.cancel()
        # The replica goes on serving whoever comes next.
        assert stub.Status(wire.StatusRequest(), timeout=SECONDS).fleets


def test_every_replica_speaks_for_itself_when_asked_who_it_is(replicas: ReplicatedCluster) -> None:
    leader = replicas.leader()
    for controller in replicas.controllers:
        said = replicas.version_of(controller.name)
        assert said is not None and said.replica == controller.name
        assert said.leader == (controller is leader)
        assert said.leader or said.leader_address == leader.address
