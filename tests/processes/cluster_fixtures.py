"""A small cluster that the tests of a process share, given to each of them empty."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleet.v1 import cluster_pb2 as wire
from tests.processes.small_cluster import SmallCluster


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallCluster]:
    """24 hosts in 4 racks, 40 VMs each."""
    with SmallCluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def cluster(shared_cluster: SmallCluster) -> Iterator[SmallCluster]:
    """Without fleets, with all its processes, and with no host cordoned, before the test and after
    it. What its leader remembers is of all tests before."""
    yield shared_cluster
    shared_cluster.start_what_is_down()
    shared_cluster.remove(*shared_cluster.records())
    request = wire.ListHostsRequest(cordoned_only=True)
    for host in shared_cluster.stub.ListHosts(request, timeout=30).hosts:
        shared_cluster.stub.SetCordon(wire.SetCordonRequest(id=host.id), timeout=30)


@pytest.fixture
def expendable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallCluster]:
    """A test's own: 4 hosts in one process, 10 VMs each, and an etcd that is full at 4 MiB."""
    folder = tmp_path_factory.mktemp("expendable")
    options = [f"--quota-backend-bytes={4 << 20}"]
    with SmallCluster(folder, 4, 10, processes=1, etcd_options=options) as running:
        yield running
