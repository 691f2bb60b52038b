"""Who is denied, and what is believed about callers: asked of real daemons over mTLS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from fleet.transport import CALLER_METADATA, Identity, Role
from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from tests.certificates import identity, odd_identity
from tests.processes.daemons import channel_to, eventually, stub_for
from tests.processes.replicated_cluster import ReplicatedCluster
from tests.processes.small_cluster import SmallCluster, refused, spec

SECONDS = 20.0
DENIED = grpc.StatusCode.PERMISSION_DENIED, "DENIED"
STATUS = wire.StatusRequest()


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicatedCluster]:
    """4 hosts of 10 VMs, two controllers on one etcd. Its processes are not to be touched."""
    folder = tmp_path_factory.mktemp("denied")
    with ReplicatedCluster(folder, hosts=4, per_host=10, processes=1, members=1) as cluster:
        request = wire.ApplyFleetRequest(name="spv", spec=spec())
        cluster.stubs[cluster.leader().name].ApplyFleet(request, timeout=SECONDS)
        yield cluster


@contextmanager
def asking(
    replicas: ReplicatedCluster, who: Identity | None = None, *, standby: bool = False
) -> Iterator[ClusterServiceStub]:
    replica = replicas.standbys()[0] if standby else replicas.leader()
    with channel_to(replica.address, who) as channel:
        yield stub_for(channel)


@contextmanager
def denied(replicas: ReplicatedCluster, role: Role, name: str) -> Iterator[None]:
    with asking(replicas) as operator:
        request = wire.DenyRequest(role=role, name=name, reason="it left us")
        operator.Deny(request, timeout=SECONDS)
        try:
            yield
        finally:
            operator.Allow(wire.AllowRequest(role=role, name=name), timeout=SECONDS)


@pytest.mark.parametrize("standby", [False, True], ids=["at the leader", "at a standby"])
def test_who_is_denied_is_refused_at_each_call_until_allowed(
    replicas: ReplicatedCluster, standby: bool
) -> None:
    with asking(replicas, identity(Role.VIEWER, "eve"), standby=standby) as eve:
        eve.Status(STATUS, timeout=SECONDS)
        with denied(replicas, Role.VIEWER, "eve"):
            with refused(*DENIED) as said:
                eve.Status(STATUS, timeout=SECONDS)
            assert said[0].startswith("viewer/eve is denied since 20")
            assert "by operator/tester: it left us; " in said[0]
        eve.Status(STATUS, timeout=SECONDS)


def test_calls_under_way_end_when_their_caller_is_denied(replicas: ReplicatedCluster) -> None:
    with asking(replicas, identity(Role.VIEWER, "mallory"), standby=True) as mallory:
        watch = mallory.WatchStatus(wire.WatchStatusRequest(interval_ms=50), timeout=SECONDS)
        next(iter(watch))
        with denied(replicas, Role.VIEWER, "mallory"), refused(*DENIED):
            list(watch)


def test_nobody_denies_himself(replicas: ReplicatedCluster) -> None:
    with asking(replicas, standby=True) as stub:
        request = wire.DenyRequest(role="operator", name="tester", reason="a slip")
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "OWN_DENIAL"):
            stub.Deny(request, timeout=SECONDS)


def test_the_leader_cannot_be_denied_and_a_standby_that_is_passes_nothing_on(
    replicas: ReplicatedCluster,
) -> None:
    leader, standby = replicas.leader().name, replicas.standbys()[0].name
    with asking(replicas) as stub:
        request = wire.DenyRequest(role="controller", name=leader, reason="stolen")
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "OWN_DENIAL") as said:
            stub.Deny(request, timeout=SECONDS)
        assert "stop it, so that another leads" in said[0]
    with denied(replicas, Role.CONTROLLER, standby), asking(replicas, standby=True) as stub:
        # The leader refuses before it has read the message: what it says arrives each time.
        for _ in range(300):
            with refused(*DENIED) as said:
                stub.Status(STATUS, timeout=SECONDS)
        assert said[0].startswith(f"controller/{standby} is denied")


@pytest.mark.parametrize(
    "claimed",
    ["controller/c9", "root/a", "operator/", "operator/a/b", "agent/A", "operator/a b"],
)
def test_a_controller_passes_on_no_caller_that_cannot_be(
    replicas: ReplicatedCluster, claimed: str
) -> None:
    with asking(replicas, identity(Role.CONTROLLER, "odd")) as odd:
        with refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED") as said:
            odd.Status(STATUS, timeout=SECONDS, metadata=((CALLER_METADATA, claimed),))
        assert "which is no operator, viewer or agent" in said[0]


def test_events_and_history_name_who_passed_a_caller_on(replicas: ReplicatedCluster) -> None:
    via = f"operator/tester via controller/{replicas.standbys()[0].name}"
    with asking(replicas, standby=True) as stub:
        stub.Scale(wire.ScaleRequest(fleet="spv", total=3), timeout=SECONDS)
        events = stub.ListEvents(wire.ListEventsRequest(), timeout=SECONDS).events
        records = stub.History(wire.HistoryRequest(fleet="spv"), timeout=SECONDS).records
    assert [one.actor for one in events if one.kind == "fleet_scaled"][-1] == via
    assert records[0].actor == via


def test_a_host_that_was_expelled_announces_nothing_until_it_is_readmitted(
    replicas: ReplicatedCluster,
) -> None:
    host = "hollow-00004"
    facts = types.HostFacts(incarnation="i", capacity=types.Capacity(guests=5))
    with asking(replicas) as stub, asking(replicas, identity(Role.AGENT, host)) as agent:
        plan = wire.ExpelHostRequest(id=host, plan_only=True)
        assert stub.ExpelHost(plan, timeout=SECONDS).known
        stub.ExpelHost(wire.ExpelHostRequest(id=host, reason="it lies"), timeout=SECONDS)
        hosts = stub.Status(STATUS, timeout=SECONDS).hosts
        assert (hosts.live, hosts.lost, hosts.expelled) == (3, 1, 1)
        with refused(*DENIED) as said:
            request = wire.AnnounceRequest(address="10.9.9.9:1", facts=facts)
            agent.Announce(request, timeout=SECONDS)
        assert said[0].endswith(f"'fleetctl hosts readmit {host}'")
        listed = stub.ListDenied(wire.ListDeniedRequest(), timeout=SECONDS).denied
        assert [(one.role, one.name, one.reason) for one in listed] == [("agent", host, "it lies")]
        stub.ReadmitHost(wire.ReadmitHostRequest(id=host), timeout=SECONDS)
        eventually(lambda: stub.Status(STATUS, timeout=SECONDS).hosts.live == 4, "the host is back")


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([x509.DNSName("www.operator")], "it has 'www.operator'"),
        ([x509.RFC822Name("mal.operator.megafleet")], "names of kind e-mail"),
        ([x509.UniformResourceIdentifier("mal.operator.megafleet")], "names of kind URI"),
        ([x509.DNSName("*.operator.megafleet")], "gives no role"),
        ([x509.DNSName("Mal.OPERATOR.MEGAFLEET")], "gives no role"),
        ([x509.DNSName("a/b\x1b[31m.operator.megafleet")], "gives no role"),
        (
            [x509.DNSName("a.viewer.megafleet"), x509.DNSName("a.operator.megafleet")],
            "more than one holder",
        ),
        ([], "has no DNS name"),
    ],
)
@pytest.mark.parametrize("standby", [False, True], ids=["at the leader", "at a standby"])
def test_an_odd_certificate_has_no_role_and_is_told_why(
    replicas: ReplicatedCluster, names: list[x509.GeneralName], why: str, standby: bool
) -> None:
    who = odd_identity(names, "mal.operator.megafleet")
    with asking(replicas, who, standby=standby) as odd:
        with refused(grpc.StatusCode.UNAUTHENTICATED, "NO_ROLE") as said:
            odd.Status(STATUS, timeout=SECONDS)
        assert why in said[0] and said[0].isprintable()


def test_while_nobody_leads_who_is_denied_reads_nothing_from_what_was_known_last(
    tmp_path: Path,
) -> None:
    with SmallCluster(tmp_path, hosts=1, per_host=1, processes=1) as small:
        request = wire.DenyRequest(role="viewer", name="eve", reason="it left us")
        small.stub.Deny(request, timeout=SECONDS)
        small.etcd.kill()
        eventually(
            lambda: small.stub.Status(STATUS, timeout=SECONDS).read_only, "nobody leads any more"
        )
        with channel_to(small.controller.address, identity(Role.VIEWER, "eve")) as channel:
            for ask in (
                lambda: stub_for(channel).Status(STATUS, timeout=SECONDS),
                lambda: stub_for(channel).Version(wire.VersionRequest(), timeout=SECONDS),
            ):
                with refused(*DENIED):
                    ask()


def test_viewers_expel_nobody_and_see_who_is_denied(replicas: ReplicatedCluster) -> None:
    with asking(replicas, identity(Role.VIEWER, "eve")) as eve:
        eve.ListDenied(wire.ListDeniedRequest(), timeout=SECONDS)
        for ask in (
            lambda: eve.ExpelHost(wire.ExpelHostRequest(id="h", reason="x"), timeout=SECONDS),
            lambda: eve.ReadmitHost(wire.ReadmitHostRequest(id="h"), timeout=SECONDS),
            lambda: eve.Deny(wire.DenyRequest(role="viewer", name="a"), timeout=SECONDS),
            lambda: eve.Allow(wire.AllowRequest(role="viewer", name="a"), timeout=SECONDS),
        ):
            with refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"):
                ask()
