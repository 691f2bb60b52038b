"""fleetctl top against a controller: what it asks for, and what it says."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from fleet.transport import Refusal, Role
from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from tests.certificates import issue
from tests.doubles.samples import cluster_sample
from tests.processes.controller_double import ControllerDouble
from tests.processes.fleetctl_process import LIMIT_SECONDS, Fleetctl


@pytest.fixture
def controller() -> Iterator[ControllerDouble]:
    with ControllerDouble() as double:
        double.samples = [cluster_sample(2)]
        double.on(
            "ListFleets",
            cluster.ListFleetsResponse(
                fleets=[cluster.FleetSummary(name="spv"), cluster.FleetSummary(name="both")]
            ),
        )
        double.on("GetHost", lambda asked: _host(double, asked.id))
        yield double


def _host(double: ControllerDouble, name: str) -> cluster.HostDetail:
    return cluster.HostDetail(summary=cluster.HostSummary(id=name))


def no_host(controller: ControllerDouble) -> None:
    controller.on("GetHost", Refusal(grpc.StatusCode.NOT_FOUND, "NO_SUCH_HOST", "no such host"))


@pytest.fixture
def fleetctl(tmp_path: Path, controller: ControllerDouble) -> Fleetctl:
    return Fleetctl(
        tmp_path, (controller.endpoint,), issue(tmp_path / "alice", Role.VIEWER, "alice")
    )


def test_one_sample(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    said = fleetctl("top", "--once", "--sort", "memory", "--limit", "7", "--interval", "3")
    assert said.code == 0 and said.out.startswith("2 VMs on 1 host, ")
    (asked,) = controller.asked("Top")
    assert asked == cluster.ClusterTopRequest(
        interval_seconds=3, limit=7, order=agent.TOP_ORDER_MEMORY, samples=1
    )
    assert fleetctl("top", "--once", "-o", "json").json["domains"][1]["name"] == "spv-1"


def test_vms_of_a_sample_are_printed_in_the_formats_that_scripts_read(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    assert fleetctl("top", "--once", "-o", "name").out == "spv-0\nspv-1\n"
    head, first, _ = fleetctl("top", "--once", "-o", "csv").out.splitlines()
    assert head.startswith("name,host,state,cpu_percent,cpu_s,memory,vcpus,rx_per_second,")
    assert first.startswith("spv-0,") and "KiB" not in first
    assert fleetctl("top", "--once", "-o", "jsonpath=$.total.vms").out == "2\n"
    assert fleetctl("top", "--once", "--columns", "name,vcpus").out.split()[:2] == ["NAME", "VCPUS"]
    said = fleetctl("top", "-o", "yaml")
    assert said.code == 2 and "without --once, top prints as" in said.err


def test_the_argument_is_a_fleet_or_a_host(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    assert fleetctl("top", "dom0-1", "--once").code == 0
    no_host(controller)
    assert fleetctl("top", "spv", "--once").code == 0
    assert fleetctl("top", "--host", "h", "--fleet", "f", "--once").code == 0
    asked = [(one.host, one.fleet) for one in controller.asked("Top")]
    assert asked == [("dom0-1", ""), ("", "spv"), ("h", "f")]
    said = fleetctl("top", "neither", "--once")
    assert (said.code, said.err) == (1, "fleetctl: there is no host and no fleet 'neither'\n")


def test_an_argument_that_could_be_either_is_refused(fleetctl: Fleetctl) -> None:
    said = fleetctl("top", "both", "--once")
    assert said.code == 2 and "say --host or --fleet" in said.err
    assert fleetctl("top", "spv", "--host", "dom0-1").code == 2


def test_no_sample_is_a_failure(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.samples = []
    assert fleetctl("top", "--once").code == 1
    controller.samples = [Refusal(grpc.StatusCode.UNAVAILABLE, "HOST_UNREACHABLE", "h is gone")]
    said = fleetctl("top", "--once")
    assert (said.code, said.err) == (1, "fleetctl: h is gone\n")


def test_json_lines_until_interrupted(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    with fleetctl.start("top", "-o", "json") as started:
        assert started.stdout is not None
        lines = [started.stdout.readline() for _ in range(2)]
        started.send_signal(signal.SIGINT)
        assert started.wait(LIMIT_SECONDS) == 0
    assert all(json.loads(line)["total"]["vms"] == 2 for line in lines)


def test_live_on_a_terminal_until_ctrl_c(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    master, slave = os.openpty()
    started = subprocess.Popen(
        fleetctl.arguments("top"),
        env=fleetctl.whole_environment | {"TERM": "xterm", "COLUMNS": "120", "LINES": "20"},
        stdin=slave,
        stdout=slave,
        stderr=subprocess.PIPE,
    )
    seen, deadline = b"", time.monotonic() + LIMIT_SECONDS
    while b"spv-1" not in seen:
        assert select.select([master], [], [], max(0.0, deadline - time.monotonic()))[0], seen
        seen += os.read(master, 4096)
    started.send_signal(signal.SIGINT)
    _, error = started.communicate(timeout=LIMIT_SECONDS)
    assert started.returncode == 0 and b"Traceback" not in error
    assert controller.asked("Top")[0].limit == 16
    os.close(master)
    os.close(slave)


def test_one_sample_is_no_longer_than_a_screen(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    sample = cluster_sample(200)
    for number in range(40):
        sample.hosts.add(host=f"h{number}").sample.vms = 5
    controller.samples = [sample]
    said = fleetctl("top", "--once").out
    assert len(said.splitlines()) < 40
    assert "and 180 more VMs; --limit shows more" in said and "more hosts" in said
    assert "spv-199" in fleetctl("top", "--once", "--limit", "200").out
    assert len(fleetctl("top", "--once", "-o", "json").json["domains"]) == 200
