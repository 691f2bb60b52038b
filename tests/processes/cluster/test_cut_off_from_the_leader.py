"""Real processes, each in a network of its own: hosts that the leader alone cannot reach are not
lost while a standby reaches them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet.v1 import cluster_pb2 as wire
from tests.chaos import namespaces
from tests.chaos.namespaces import Namespaces
from tests.processes.daemons import eventually
from tests.processes.replicated_cluster import ReplicatedCluster
from tests.processes.small_cluster import spec

LOST_AFTER = 5.0
# Verdicts by time alone: no breaker, no budget.
OPTIONS = (
    "--lost-after", str(LOST_AFTER), "--replace-per-minute", "0",
    "--breaker-fleet-share", "1", "--breaker-rack-share", "1",
)  # fmt: skip
SECONDS = 20.0


@contextmanager
def wired_cluster(folder: Path) -> Iterator[tuple[Namespaces, ReplicatedCluster]]:
    """4 hosts of 10 VMs in two processes, 20 VMs running, three controllers on one etcd."""
    with Namespaces() as net:
        under = ReplicatedCluster(folder, hosts=4, per_host=10, members=1, wiring=net)
        for controller in under.controllers:
            controller.options = OPTIONS
        with under:
            stub = under.stubs[under.leader().name]
            request = wire.ApplyFleetRequest(name="spv", spec=spec())
            stub.ApplyFleet(request, timeout=SECONDS)
            stub.Scale(wire.ScaleRequest(fleet="spv", total=20), timeout=SECONDS)
            eventually(lambda: under.status("spv").fleets[0].converged, "20 VMs run")
            yield net, under


@pytest.mark.skipif(not namespaces.available(), reason="takes root, and network namespaces")
def test_hosts_that_the_leader_alone_cannot_reach_are_not_lost(tmp_path: Path) -> None:
    with wired_cluster(tmp_path) as (net, under):
        leader, away = under.leader(), under.hollows[1]
        before = under.digest("spv")
        net.hide(leader.name, away.name)
        eventually(lambda: under.status().hosts.cut_off == 2, "standbys reach both")
        over = time.monotonic() + 1.5 * LOST_AFTER
        while time.monotonic() < over:
            seen = under.status("spv")
            assert seen.hosts.lost == 0 and under.leader().name == leader.name
            time.sleep(0.5)
        assert under.digest("spv") == before, "nothing was placed elsewhere"
        hosts = under.stubs[leader.name].ListHosts(wire.ListHostsRequest(), timeout=SECONDS).hosts
        told = {one.id: one.reached_by for one in hosts}
        others = {one.name for one in under.standbys()}
        assert [told[host] in others for host in away.hosts] == [True, True], told
        assert [told[host] for host in under.hollows[0].hosts] == ["", ""]
        events = under.stubs[leader.name].ListEvents(wire.ListEventsRequest(), timeout=SECONDS)
        cut_off = [one.message for one in events.events if one.kind == "host_cut_off"]
        assert len(cut_off) == 2 and f"but not by {leader.name}, which leads" in cut_off[0]

        for standby in under.standbys():
            standby.kill()
        eventually(lambda: under.status().hosts.lost == 2, "nobody else can be asked")
        assert under.status().hosts.cut_off == 0
