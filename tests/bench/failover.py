"""How long a cluster of three controllers is without one when its leader is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import Unavailable
from megafleet.connection.cluster import Cluster
from tests.bench.cluster_under_test import ClusterUnderTest, until
from tests.bench.measures import SAMPLE, Measured

_OPTIONS = ("--controllers=3", "--etcd=3")
_REPEATS = 3
_ALL_GONE_SECONDS = 60.0


def failover(home: Path, hosts: int, say: Callable[[str], None], out: Measured) -> None:
    """The worst of a few leaders that are killed, each under a fleet that fills most hosts."""
    total = hosts * 250 * 25 // 28
    with ClusterUnderTest(home, hosts, options=_OPTIONS).running() as under:
        under.fleetctl("apply", "-f", str(SAMPLE))
        under.scale("spv", total)
        uid = under.status("spv").fleets[0].uid
        seen = []
        for turn in range(1, _REPEATS + 1):
            say(f"leader killed, {turn} of {_REPEATS}")
            seen.append(_kill_leader(under, total + turn))
            until(partial(_all_run, under, uid, total + turn), "all VMs run")
            under.fleetctl("sandbox", "up")
            under.look()
        say(f"all controllers and all etcd killed, for {_ALL_GONE_SECONDS:.0f} s")
        stopped = _lose_all(under, uid)
    accepted, live = (max(times) for times in zip(*seen, strict=True))
    out.add(f"leader killed, {hosts:,} hosts: changes accepted again", accepted, "s", 10, 5)
    out.add(f"leader killed, {hosts:,} hosts: all links live again", live, "s", 40, 15)
    what = f"VMs stopped by the loss of all controllers and etcd for {_ALL_GONE_SECONDS:.0f} s"
    out.add(what, stopped, "", 0, 0)
    out.notes["leader_killed_seconds"] = [[round(one, 2) for one in times] for times in seen]


def _kill_leader(under: ClusterUnderTest, total: int) -> tuple[float, float]:
    """Seconds until a change was accepted, and until all hosts were live."""
    client = under.client()
    leader = next(one for one in under.description["processes"] if one["leader"])
    started = time.monotonic()
    os.kill(leader["pid"], signal.SIGKILL)
    request = cluster.ScaleRequest(fleet="spv", total=total)
    client.change(lambda stub: stub.Scale, request, again=True)
    accepted = time.monotonic() - started
    until(lambda: _live(client) == under.hosts, "all links are live")
    return accepted, time.monotonic() - started


def _lose_all(under: ClusterUnderTest, uid: str) -> int:
    """How many VMs fewer the drivers have at any time while nobody controls them."""
    before = least = under.listed(uid)
    for one in under.description["processes"]:
        if one["kind"] in ("controller", "etcd"):
            os.kill(one["pid"], signal.SIGKILL)
    end = time.monotonic() + _ALL_GONE_SECONDS
    while time.monotonic() < end:
        least = min(least, under.listed(uid))
        time.sleep(1.0)  # the measurement is of what happens meanwhile
    return before - least


def _all_run(under: ClusterUnderTest, uid: str, total: int) -> bool:
    return under.listed(uid) == total


def _live(client: Cluster) -> int:
    try:
        answer = client.call(lambda stub: stub.Status, cluster.StatusRequest())
    except Unavailable:
        return -1
    return -1 if answer.read_only else answer.hosts.live
