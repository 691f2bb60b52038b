"""A real Prometheus scrapes a cluster while parts of it are killed: the right alarms fire."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fleet.transport import Role
from fleet.v1 import cluster_pb2 as cluster
from fleetctl.local.certificate_authority import write_identity
from tests.certificates import authority
from tests.processes.daemons import eventually
from tests.processes.etcd_process import free_ports
from tests.processes.fleetctl_process import Fleetctl
from tests.processes.prometheus_process import MONITORING, Prometheus
from tests.processes.replicated_cluster import ReplicatedCluster
from tests.processes.small_cluster import spec

HOSTS = 12

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs Prometheus: Debian's package prometheus"
)


# Panels of what there is none of then: their lines come with the first of it.
EMPTY_WHERE_ALL_IS_WELL = {"Problems", "Unplaced", "Failures a second", "Fullest pools"}


def panels() -> Iterator[tuple[str, str]]:
    """Title, and what it asks, of each panel of the dashboard."""
    board = json.loads((MONITORING / "dashboard.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def test_the_right_alarms_fire_while_parts_are_killed_and_no_others(tmp_path: Path) -> None:
    *metrics, hollow = (f"127.0.0.1:{port}" for port in free_ports(4))
    made = ReplicatedCluster(tmp_path / "cluster", hosts=HOSTS)
    for controller, address in zip(made.controllers, metrics, strict=True):
        controller.metrics = address
        controller.options = ("--agents-metrics-port", hollow.rpartition(":")[2])
    first, second = made.hollows
    first.metrics = hollow
    with made as whole, Prometheus(tmp_path / "prometheus", metrics) as prometheus:
        leader = whole.leader().name
        stub = whole.stubs[leader]
        stub.ApplyFleet(cluster.ApplyFleetRequest(name="spv", spec=spec()), timeout=10)
        stub.Scale(cluster.ScaleRequest(fleet="spv", total=60), timeout=10)
        eventually(
            lambda: [value for _, value in prometheus.asked("megafleet_fleet_converged")] == [1],
            "Prometheus sees that all is as wanted",
        )
        eventually(
            lambda: len(prometheus.asked('up{job="megafleet-agents"} == 1')) == HOSTS,
            "all hosts are discovered",
        )
        began = time.monotonic()

        def expect(*alarms: str) -> None:
            """They fire together, and nothing else has since the phase began."""
            nonlocal began
            eventually(lambda: prometheus.firing() == set(alarms), f"{alarms} fire")
            assert prometheus.fired(time.monotonic() - began) <= set(alarms)

        def calm() -> None:
            nonlocal began
            eventually(lambda: not prometheus.firing(), "no alarm fires")
            began = time.monotonic() + 1

        calm()
        eventually(
            lambda: (
                {title for title, asked in panels() if not prometheus.asked(asked)}
                <= EMPTY_WHERE_ALL_IS_WELL
            ),
            "all panels show something",
        )
        standby = next(one for one in whole.controllers if one.name != leader)
        member = whole.members[-1]
        standby.kill()
        member.kill()
        expect("ControllerDown", "StoreMemberDown", "StoreQuorumAtTheEdge")
        standby.start()
        member.begin()
        calm()
        second.kill()
        expect("HostAway", "ManyHostsAway")
        # What it ran is placed elsewhere by an operator's word, and may run there still.
        lost = cluster.DeclareLostRequest(hosts=second.hosts[:1])
        whole.stubs[whole.leader().name].DeclareLost(lost, timeout=10)
        expect("HostAway", "ManyHostsAway", "DuplicateVms")
        second.start()
        calm()
        for controller in whole.controllers:
            controller.kill()
        expect("NoLeader", "ControllerDown")


def test_certificates_that_end_and_leaders_that_flap_are_alarms_and_backups_are_seen(
    tmp_path: Path,
) -> None:
    metrics = [f"127.0.0.1:{port}" for port in free_ports(3)]
    made = ReplicatedCluster(tmp_path / "cluster", hosts=4, processes=1)
    for controller, address in zip(made.controllers, metrics, strict=True):
        controller.metrics = address
    ending = made.controllers[0]
    short = authority().identity(Role.CONTROLLER, ending.name, valid=timedelta(days=10))
    write_identity(ending.folder / "identity", short)
    with made as whole, Prometheus(tmp_path / "prometheus", metrics) as prometheus:
        eventually(lambda: prometheus.firing() == {"CertificateEnds"}, "it fires, and alone")
        ends = prometheus.asked('ALERTS{alertname="MegafleetCertificateEnds",alertstate="firing"}')
        assert [labels["instance"] for labels, _ in ends] == [metrics[0]]
        last = "max(megafleet_last_backup_timestamp_seconds)"
        assert not prometheus.asked(last)
        fleetctl = Fleetctl(tmp_path, tuple(whole.endpoints), whole.operator)
        assert fleetctl("backup", str(tmp_path / "backup.db")).code == 0
        ((_, taken),) = eventually(lambda: prometheus.asked(last), "the backup is seen")
        for _ in range(4):
            leader = whole.leader()
            leader.kill()
            eventually(lambda gone=leader: whole.leader() is not gone, "another one leads")  # type: ignore[misc]
            leader.start()
        eventually(lambda: "LeaderFlaps" in prometheus.firing(), "leaders flap")
        allowed = {"CertificateEnds", "LeaderFlaps", "ControllerDown", "NoLeader"}
        assert prometheus.firing() <= allowed
        leads = "and on (instance) megafleet_controller_leads == 1"
        led = f"megafleet_last_backup_timestamp_seconds {leads}"
        found = eventually(lambda: prometheus.asked(led), "whoever leads by now knows of it")
        assert [value for _, value in found] == [taken]
