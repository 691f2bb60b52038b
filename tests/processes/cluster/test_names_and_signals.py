"""A controller's name, key and signals: what ends it, and what does not."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from fleet.v1 import cluster_pb2 as wire
from fleetctl.local.certificate_authority import write_identity
from tests.certificates import odd_identity
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


def test_a_controller_whose_certificate_has_expired_says_so_with_file_date_and_clock(
    small: SmallCluster, tmp_path: Path
) -> None:
    late = Controller(tmp_path, f"etcd://{small.etcd.endpoint}", "late")
    names = [x509.DNSName("late.controller.megafleet"), x509.DNSName("controller.megafleet")]
    expired = odd_identity(names, since=timedelta(days=-3), until=timedelta(days=-1))
    write_identity(tmp_path / "identity", expired)
    late.begin()
    try:
        eventually(lambda: "nobody will be reached" in late.said(), "it says so")
    finally:
        late.kill()
    file = tmp_path / "identity" / "cert.pem"
    assert f"{file} expired on 20" in late.said()
    assert "and the clock here says 20" in late.said()


def test_hosts_show_when_their_certificates_end(small: SmallCluster) -> None:
    (host,) = small.stub.ListHosts(wire.ListHostsRequest(), timeout=SECONDS).hosts
    assert host.certificate_expires_unix > time.time() + 300 * 86_400
