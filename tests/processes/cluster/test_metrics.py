"""Real processes, as Prometheus scrapes them."""

from __future__ import annotations

import itertools
import json
import re
import urllib.request
from pathlib import Path

from fleet.v1 import cluster_pb2 as cluster
from tests.processes.daemons import eventually
from tests.processes.etcd_process import free_ports
from tests.processes.prometheus_process import MONITORING, RULES
from tests.processes.scraping import scraped
from tests.processes.small_cluster import SmallCluster, spec

# Hollow hosts have no pool.
OF_REAL_POOLS = {"megafleet_agent_pool_bytes", "megafleet_agent_pool_free_bytes"}


def test_a_controller_and_hollow_hosts_are_scraped_while_a_fleet_grows(tmp_path: Path) -> None:
    controller, hollow = (f"127.0.0.1:{port}" for port in free_ports(2))
    made = SmallCluster(tmp_path, hosts=6, per_host=20, processes=1)
    made.hollows[0].metrics = hollow
    made.controller.metrics = controller
    made.controller.options = ("--metrics-each-host",)
    with made as small:
        small.stub.ApplyFleet(cluster.ApplyFleetRequest(name="spv", spec=spec()), timeout=10)
        small.stub.Scale(cluster.ScaleRequest(fleet="spv", total=60), timeout=10)
        eventually(
            lambda: scraped(controller).get(("fleet_converged", "spv")) == 1, "all is as wanted"
        )
        eventually(lambda: scraped(controller)["boot_seconds_count",] == 60, "all boots are told")
        told = scraped(controller)
        assert told["controller_leads",] == 1
        assert told["boot_seconds_bucket", "+Inf"] == 60 and told["boot_seconds_sum",] > 0
        assert told["fleet_vms", "spv", "running"] == 60
        assert told["hosts", "live"] == 6
        assert told["capacity_vms",] == 120
        assert told["read_seconds",] > 0
        assert sum(value for key, value in told.items() if key[0] == "host_assigned_vms") == 60
        eventually(lambda: ("store_readable",) in scraped(controller), "the store is looked at")
        told = scraped(hollow)
        assert told["agent_vms", "running"] == 60
        assert told["agent_done_total", "clone"] == told["agent_done_total", "start"] == 60
        assert told["agent_boot_seconds_count",] == 60
        assert told["agent_hosts",] == told["agent_watched",] == 6
        with urllib.request.urlopen(f"http://{controller}/hosts", timeout=10) as answer:
            targets = json.load(answer)
        assert [one["labels"]["host"] for one in targets] == [
            f"hollow-{n:05d}" for n in range(1, 7)
        ]
        assert targets[0]["targets"] == ["127.0.0.1:7443"]
        # What was under way when the leader began to look is not measured: these are.
        totals = itertools.cycle((50, 60))

        def measured() -> bool:
            small.stub.Scale(cluster.ScaleRequest(fleet="spv", total=next(totals)), timeout=10)
            return scraped(controller)["scale_seconds_count",] >= 1

        eventually(measured, "a scale is measured")
        assert [part for part in small.stub.Backup(cluster.BackupRequest(), timeout=30)]
        # A scrape is told again for a while.
        eventually(
            lambda: ("last_backup_timestamp_seconds",) in scraped(controller), "the backup is told"
        )
        told_by_all = told_metrics(controller) | told_metrics(hollow)
        assert asked_of_metrics() - told_by_all == OF_REAL_POOLS


def asked_of_metrics() -> set[str]:
    """Every metric that a panel of the dashboard or a rule asks for, of our programs."""
    board = json.loads((MONITORING / "dashboard.json").read_text())
    targets = [one for panel in board["panels"] for one in panel.get("targets", [])]
    text = " ".join(one["expr"] for one in targets) + RULES.read_text()
    found = set(re.findall(r"\b(?:megafleet|process)_[a-z_]+\b(?!:)", text))
    assert len(found) > 30
    return found


def told_metrics(address: str) -> set[str]:
    """As a real program names them, samples of histograms and counters too; also those that it
    has no series of just now."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        kinds = re.findall(r"^# TYPE (\S+) (\S+)$", answer.read().decode(), re.MULTILINE)
    ends = {"histogram": ("_bucket", "_count", "_sum")}
    return {name + end for name, kind in kinds for end in ends.get(kind, ("",))}
