"""A real Prometheus scrapes a cluster while parts of it are killed: the right alarms fire."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from fleet.v1 import cluster_pb2 as cluster
from tests.processes.daemons import eventually
from tests.processes.etcd_process import free_ports
from tests.processes.prometheus_process import Prometheus
from tests.processes.replicated_cluster import ReplicatedCluster
from tests.processes.small_cluster import spec

HOSTS = 12

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs Prometheus: Debian's package prometheus"
)


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
        second.start()
        calm()
        for controller in whole.controllers:
            controller.kill()
        expect("NoLeader", "ControllerDown")
