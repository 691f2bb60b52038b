"""VMs that are to be copies and are not: on which hosts, and why, as far as the leader knows."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.shards import held_by
from fleet_controller.core.vm_states import RUNNING
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.queries.hosts import has_labels

# Sentences of one answer: reasons differ by the numbers in them.
_MOST = 8


def set_started(memory: LeaderMemory, detail: cluster.VmDetail) -> None:
    """How a VM was begun, while it runs and its host tells."""
    if detail.state != RUNNING:
        return
    why = memory.observed.host(detail.host).why_begun_otherwise(detail.fleet.uid, detail.index)
    if why is not None:
        detail.started = types.START_BOOT if why else detail.spec.start
        detail.fallback = why


def not_cloned(memory: LeaderMemory, fleet: FleetRecord, spec: types.FleetSpec) -> list[str]:
    """One sentence for each reason, of the hosts that its VMs may be placed on."""
    if spec.start != types.START_CLONE:
        return []
    hosts = {
        host_id: record.holdings.clones
        for host_id, record in sorted(memory.state.hosts.items())
        if has_labels(record, spec.placement.selector)
    }
    silent = [host_id for host_id, clones in hosts.items() if clones is None]
    unable = [host_id for host_id, clones in hosts.items() if clones is False]
    found = []
    if silent:
        found.append(f"VMs boot on {_named(silent)}: an agent older than clones is there")
    if unable:
        found.append(f"no VMs are placed on {_named(unable)}: QEMU is not there")
    whys: dict[str, IndexSet] = {}
    for host_id in hosts:
        host = memory.observed.host(host_id)
        mine = held_by(host.assignment.shards, fleet.uid)
        for uid, indices, why in host.fallbacks or ():
            if uid == fleet.uid and (known := indices & mine):
                whys[why] = whys.get(why, EMPTY) | known
    found += [
        f"{_counted(len(indices), 'VM')} of it booted: {why}"
        for why, indices in sorted(whys.items(), key=lambda one: -len(one[1]))
    ]
    return found[:_MOST]


def _named(hosts: Sequence[str]) -> str:
    if len(hosts) == 1:
        return hosts[0]
    return f"{_counted(len(hosts), 'host')}, such as {hosts[0]}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
