"""An etcd restored from a backup that was taken in the midst of a drain, with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.ranges import IndexSet
from fleet.transport import Role
from fleet.v1 import cluster_pb2 as wire
from tests.certificates import issue
from tests.processes.daemons import Hollow, eventually, pause, resume
from tests.processes.fleetctl_process import Fleetctl
from tests.processes.small_cluster import SmallCluster, spec

TOTAL = 60
PER_HOST = TOTAL // 4
LEAVING = "hollow-00001"
NOTHING: dict[str, Any] = {"births": {}, "running": 0}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[SmallCluster]:
    """Four hosts, each with a process of its own, and 15 VMs on each."""
    with SmallCluster(tmp_path / "site", hosts=4, per_host=40, processes=4) as cluster:
        cluster.apply(template=spec())
        cluster.scale_and_wait(TOTAL)
        yield cluster


@pytest.fixture
def fleetctl(tmp_path: Path, site: SmallCluster) -> Fleetctl:
    alice = issue(tmp_path / "alice", Role.OPERATOR, "alice")
    return Fleetctl(tmp_path, (site.controller.address,), alice)


def held(site: SmallCluster, *without: Hollow) -> dict[str, dict[str, Any]]:
    """What the drivers have of the fleet, by host; processes that are stopped tell nothing."""
    uid = site.records()["spv"].uid
    told = {
        host: one.listing(host).get(uid, NOTHING)
        for one in site.hollows
        if one not in without
        for host in one.hosts
    }
    return told


def births(told: dict[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
    """How many VMs of each birth, by host: the same exactly when none was made anew."""
    return {host: one["births"] for host, one in told.items()}


def running(told: dict[str, dict[str, Any]]) -> int:
    return sum(one["running"] for one in told.values())


def progress(site: SmallCluster) -> wire.DrainProgress:
    request = wire.GetHostRequest(id=LEAVING)
    return site.stub.GetHost(request, timeout=30).drain


def begin_drain(site: SmallCluster, slow: Hollow) -> None:
    """Return in the midst of it: one host is stopped, and yet to prepare some VMs, which the one
    that is drained still runs; all others have moved."""
    pause(slow)
    request = wire.DrainRequest(host=LEAVING, no_wait=True)
    list(site.stub.Drain(request, timeout=30))
    eventually(
        lambda: stands(progress(site)) and running(held(site, slow)) == TOTAL - PER_HOST,
        "all but what waits for the stopped host has moved, and runs",
    )


def stands(now: wire.DrainProgress) -> bool:
    return 0 < now.left == now.moving < PER_HOST and not now.releasing


def restore(site: SmallCluster, fleetctl: Fleetctl, backup: Path) -> None:
    """As an operator does it who has lost etcd."""
    site.etcd.kill()
    said = fleetctl("restore", str(backup), *site.etcd.restore_options(), "--yes")
    assert said.code == 0, said.err
    site.etcd.start()
    eventually(lambda: not site.controller.running, "the controller sees another store, and ends")
    site.controller.start()
    eventually(lambda: site.status().HasField("freeze"), "changes are frozen")


@pytest.mark.parametrize("since", ["has ended", "stands where it stood"])
def test_a_drain_is_adopted_with_nothing_stopped_and_nothing_twice(
    site: SmallCluster, fleetctl: Fleetctl, tmp_path: Path, since: str
) -> None:
    slow = site.hollows[-1]
    begin_drain(site, slow)
    backup = tmp_path / "in-mid-drain.db"
    assert fleetctl("backup", str(backup)).code == 0
    if since == "has ended":
        resume(slow)
        eventually(lambda: progress(site).done, "the drain has ended")
        site.until_converged(TOTAL)
    before = births(held(site, slow))
    restore(site, fleetctl, backup)
    resume(slow)
    eventually(lambda: site.status().hosts.live == 4, "all hosts are heard")
    assert running(held(site)) == TOTAL, "VMs go on"
    frozen = births(held(site))
    assert fleetctl("recover", "--plan").code == 0
    said = fleetctl("recover", "--adopt", "--total", f"spv={TOTAL}", "--yes")
    assert said.code == 0, said
    eventually(lambda: progress(site).done, "the drain goes on to its end")
    site.until_converged(TOTAL)
    site.check("spv", TOTAL)
    after = births(held(site))
    assert not after[LEAVING]
    if since == "has ended":
        assert after == frozen, "no VM was stopped or made anew"
    stayed = before.keys() - {LEAVING}
    assert {host: after[host] for host in stayed} == {host: before[host] for host in stayed}
    assert site.assigned_once(site.records()["spv"].uid) == IndexSet.span(0, TOTAL)
