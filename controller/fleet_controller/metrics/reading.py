"""Reads a replica, and its leader's memory where it leads: on the event loop, without waiting."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.metadata import version

from fleet_controller.core.host_claims import admitted_guests
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.metrics.snapshot import ClusterSample, HostSample, Snapshot
from fleet_controller.queries import fleets as fleet_queries
from fleet_controller.replica.leader import Leader
from fleet_controller.replica.replica import NotLeading, Replica


class ReplicaReading:
    """`certificates`: when this controller's own end, by what they are."""

    def __init__(
        self,
        replica: Replica,
        certificates: Callable[[], Mapping[str, int]],
        *,
        each_host: bool = False,
    ) -> None:
        self._replica = replica
        self._certificates = certificates
        self._each_host = each_host
        self._version = version("megafleet")

    def snapshot(self) -> Snapshot:
        replica, poll, events = self._replica, self._replica.store_health, self._replica.events
        holder = replica.known_leader
        return Snapshot(
            replica=replica.name,
            version=self._version,
            durable=replica.store.durable,
            term=holder.term if holder else 0,
            certificates=self._certificates(),
            store=poll.last.health if poll.last else None,
            store_age=poll.seconds_old(),
            events=dict(events.told),
            backup=events.last_backup,
            cluster=self._cluster(),
        )

    def _cluster(self) -> ClusterSample | None:
        try:
            leader = self._replica.leader()
        except NotLeading:
            return None
        return cluster_sample(leader, each_host=self._each_host)


def cluster_sample(leader: Leader, *, each_host: bool = False) -> ClusterSample:
    """All of it, at once. `each_host`: with a line of each host."""
    started = time.perf_counter()
    memory = leader.memory
    status = fleet_queries.status(memory, leader.planning, "", leader.absences.waiting)
    hosts, usual = memory.state.hosts, memory.state.guest_claims.usual
    return ClusterSample(
        status,
        capacity=sum(admitted_guests(one, usual) for one in hosts.values()),
        versions=Counter(one.agent_version for one in hosts.values()),
        host_certificate_end=_first_end(memory),
        hosts=tuple(_host(memory, one) for one in hosts) if each_host else (),
        seconds=time.perf_counter() - started,
        boots=memory.boots.buckets(),
        boot_seconds=memory.boots.seconds,
        watchers=leader.states.watchers,
    )


def _first_end(memory: LeaderMemory) -> int:
    """Of those that have failed to renew in time, where hosts renew their own."""
    hosts, bound = memory.state.hosts, memory.certificates.hosts_bound
    ends = (
        seen.certificate_expires
        for host, seen in memory.observed.hosts.items()
        if 0 < seen.certificate_expires <= bound and host in hosts
    )
    return min(ends, default=0)


def _host(memory: LeaderMemory, host_id: str) -> HostSample:
    shards = memory.observed.host(host_id).assignment.shards
    return HostSample(
        host_id,
        memory.links.is_live(host_id) and host_id not in memory.state.lost,
        memory.links.age(host_id),
        sum(len(shard.ranges) for shard in shards),
    )
