"""What the page is told of one host: its facts, and which VM each of its cells is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from fleet.wire_ranges import from_wire
from fleetctl.views.hosts.hosts import detail_json


def host_cells_json(detail: cluster.HostDetail) -> dict[str, Any]:
    """As `hosts show -o json`, and `cells`: the VMs in the order of StatesFrame."""
    names = {fleet.uid: fleet.name for fleet in detail.fleets}
    held: dict[str, IndexSet] = defaultdict(IndexSet)
    for shard in detail.shards:
        held[shard.fleet_uid] = held[shard.fleet_uid] | from_wire(shard.ranges)
    cells = [
        {
            "fleet": names.get(uid, uid),
            "uid": uid,
            "ranges": [list(pair) for pair in held[uid].ranges],
        }
        for uid in sorted(held)
    ]
    reasons = [
        {"fleet": names.get(one.fleet_uid, one.fleet_uid), **_reason_json(one)}
        for one in detail.problems
    ]
    return detail_json(detail) | {"cells": cells, "reasons": reasons}


def _reason_json(one: agent.Problem) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "count": one.count,
        "message": one.example_message,
        "ranges": [list(pair) for pair in _pairs(one.failed)],
    }


def _pairs(failed: Iterable[agent.FailedRange]) -> Iterable[tuple[int, int]]:
    return ((one.start, one.stop) for one in failed)
