"""Questions, names, addresses and facts that nobody honest sends."""

from __future__ import annotations

import grpc
import pytest

from fleet.transport import Role
from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import types_pb2 as types
from tests.certificates import identity
from tests.processes.small_cluster import SmallCluster, refused
from tests.processes.wire.callers import SECONDS, announce, asking

pytest_plugins = ["tests.processes.cluster_fixtures"]


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
