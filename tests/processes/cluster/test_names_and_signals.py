"""A controller's name, key and signals: what ends it, and what does not."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.v1 import cluster_pb2 as wire
from tests.processes.daemons import Controller, eventually
from tests.processes.small_cluster import SmallCluster

SECONDS = 20.0


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallCluster]:
    """One controller and one host, which no test here ends."""
    with SmallCluster(tmp_path_factory.mktemp("small"), hosts=1, per_host=4, processes=1) as made:
        yield made


def test_a_second_controller_of_the_leaders_name_ends_and_the_leader_leads_on(
    small: SmallCluster, tmp_path: Path
) -> None:
    leadership = small.stub.Instant(wire.InstantRequest(), timeout=SECONDS).leadership
    name = small.controller.name
    namesake = Controller(tmp_path, f"etcd://{small.etcd.endpoint}", name)
    namesake.begin()
    try:
        eventually(lambda: not namesake.running, "the namesake ends")
    finally:
        namesake.kill()
    sentence = f"fleet-controller: another controller named {name} leads, at "
    assert sentence in namesake.said() and "Traceback" not in namesake.said()
    assert small.stub.Instant(wire.InstantRequest(), timeout=SECONDS).leadership == leadership


def test_a_hang_up_ends_neither_controllers_nor_hosts(small: SmallCluster) -> None:
    leadership = small.stub.Instant(wire.InstantRequest(), timeout=SECONDS).leadership
    for daemon in (small.controller, *small.hollows):
        daemon.signal(signal.SIGHUP)
    eventually(lambda: "SIGHUP changes nothing" in small.controller.said(), "it says so")
    assert small.stub.Instant(wire.InstantRequest(), timeout=SECONDS).leadership == leadership
    assert small.controller.running and all(one.running for one in small.hollows)
    assert small.status().hosts.live == 1


def test_a_controller_whose_key_others_may_read_does_not_start(
    small: SmallCluster, tmp_path: Path
) -> None:
    careless = Controller(tmp_path, f"etcd://{small.etcd.endpoint}", "careless")
    key = tmp_path / "identity" / "key.pem"
    key.chmod(0o644)
    careless.begin()
    try:
        eventually(lambda: not careless.running, "it ends")
    finally:
        careless.kill()
    assert f"chmod 600 {key}" in careless.said() and "Traceback" not in careless.said()
