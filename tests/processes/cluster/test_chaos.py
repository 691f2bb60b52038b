"""Chaos on real processes, in short: make chaos has the long form."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random

from tests.chaos.__main__ import wired
from tests.chaos.ordeal import Ordeal
from tests.chaos.schedule import Kind, schedule
from tests.processes.replicated_cluster import ReplicatedCluster

SEED = 20


def test_a_cluster_is_as_asked_after_kills_stops_and_cuts(tmp_path: Path) -> None:
    said: list[str] = []
    with (
        wired() as net,
        ReplicatedCluster(
            tmp_path, hosts=24, per_host=20, processes=3, wiring=net, etcd_tls=True
        ) as under,
    ):
        ordeal = Ordeal(under, net, SEED, most=24 * 20, say=said.append)
        ordeal.prepare()
        ordeal.round(12.0)
    assert ordeal.outcome.faults >= 3, said
    assert ordeal.outcome.changes >= 2, said


def test_a_seed_decides_every_fault() -> None:
    parts = [f"part-{n}" for n in range(9)]
    one, same, other = (schedule(Random(seed), parts, 600.0, cuts=True) for seed in (1, 1, 2))
    assert one == same != other
    assert {fault.kind for fault in one} == set(Kind)
    assert all(fault.at < fault.until <= 600.0 for fault in one)
    for part in parts:
        mine = sorted((f.at, f.until) for f in one if part in f.parts)
        assert all(a[1] <= b[0] for a, b in pairwise(mine)), part
    assert not any(f.kind is Kind.CUT for f in schedule(Random(1), parts, 600.0, cuts=False))
