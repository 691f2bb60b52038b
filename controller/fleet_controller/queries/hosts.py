"""Answers about hosts, from the leader's memory and planning: no I/O, no waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from fleet.transport import Peer, Role
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import to_wire
from fleet_controller.core.announced_holdings import told_holdings
from fleet_controller.core.model import Capacity, DrainEnd, Health, HostRecord
from fleet_controller.core.vm_states import FAILED, RUNNING
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.planning import Planning
from fleet_controller.queries import drains as drain_queries
from fleet_controller.queries import duplicates

PAGE = 1000
FEW_IMAGES = 5  # in a list of hosts
MAX_PAGE = 10_000

# What becomes of a drain at its deadline, as it is kept.
DRAIN_ENDS: Mapping[DrainEnd, cluster.DrainThen.ValueType] = {
    "": cluster.DRAIN_THEN_UNSPECIFIED,
    "stop": cluster.DRAIN_THEN_STOP,
    "force": cluster.DRAIN_THEN_FORCE,
}


def host_counts(memory: LeaderMemory) -> cluster.HostCounts:
    by = Counter(memory.links.by_health)
    converged = memory.observed.converged
    for host_id in memory.state.lost:
        if memory.links.get(host_id) is not None:  # an expelled one has none
            by[memory.links.health(host_id)] -= 1
        by[Health.LOST] += 1
        # Heard already, and lost until the verdict has been taken back.
        converged -= memory.observed.host(host_id).converged
    return cluster.HostCounts(
        live=by[Health.LIVE],
        unreachable=by[Health.UNREACHABLE],
        suspect=by[Health.SUSPECT],
        lost=by[Health.LOST],
        cordoned=len(memory.state.cordoned),
        converged=converged,
        total=len(memory.state.hosts),
        draining=len(memory.state.draining),
        quarantined=len(memory.state.quarantined),
        misbehaving=len(memory.links.misbehaving),
        awaiting_approval=len(memory.state.awaiting_approval),
        cut_off=sum(bool(reached_by(memory, host_id)) for host_id in memory.reachability.all()),
        distrusted=len(memory.unproven),
        expelled=sum(
            one.role == Role.AGENT and one.name in memory.state.hosts
            for one in memory.state.denied.values()
        ),
        orders_refused=len(memory.observed.refusing),
    )


def hosts(
    memory: LeaderMemory, planning: Planning, request: cluster.ListHostsRequest
) -> cluster.ListHostsResponse:
    """A page of hosts by id. The cursor is the last id of the page before."""
    wanted = [
        host_id
        for host_id, record in memory.state.hosts.items()
        if (not request.health or int(_health(memory, host_id)) == request.health)
        and (record.cordoned or not request.cordoned_only)
        and (record.draining or not request.draining_only)
        and (record.quarantine or not request.quarantined_only)
        and has_labels(record, request.selector)
    ]
    wanted.sort()
    rest = [host_id for host_id in wanted if host_id > request.cursor]
    page = rest[: min(request.limit or PAGE, MAX_PAGE)]
    return cluster.ListHostsResponse(
        hosts=[host_summary(memory, planning, host_id) for host_id in page],
        next_cursor=page[-1] if len(page) < len(rest) else "",
        matching=len(wanted),
    )


def host_summary(memory: LeaderMemory, planning: Planning, host_id: str) -> cluster.HostSummary:
    record, believed = memory.host(host_id), memory.believed(host_id)
    seen = memory.observed.host(host_id)
    claimed, admitted = record.capacity.guests, believed.capacity.guests
    shards = seen.assignment.shards
    images = record.holdings.images or ()

    def counted(state: int) -> int:
        return sum(memory.observed.vectors[s.fleet].count_within(s.ranges, state) for s in shards)

    return cluster.HostSummary(
        id=host_id,
        address=record.address,
        health=cluster.HostHealth.ValueType(int(_health(memory, host_id))),
        cordoned=record.cordoned,
        assigned=sum(len(shard.ranges) for shard in shards),
        running=counted(RUNNING),
        capacity_guests=admitted,
        labels=dict(record.labels),
        report_age_seconds=memory.links.age(host_id),
        converged=seen.converged,
        failed=counted(FAILED),
        link_error=memory.links.error(host_id),
        draining=record.draining,
        drain_until_unix=record.drain_until,
        drain_then=DRAIN_ENDS[record.drain_then],
        drain_ignores_budget=record.drain_ignores_budget,
        quarantine=record.quarantine,
        duplicates=duplicates.of_host(memory, planning, host_id),
        reached_by=reached_by(memory, host_id),
        misbehaves=memory.links.misbehaves(host_id),
        max_guests=record.max_guests,
        awaits_approval=record.awaits_approval,
        claimed_guests=claimed if claimed > admitted else 0,
        pinned=record.pinned,
        distrusted=memory.unproven.why(host_id),
        expelled=expelled(memory, host_id),
        certificate_expires_unix=seen.certificate_expires,
        orders_refused=seen.orders_refused,
        agent_version=record.agent_version,
        upgrades=record.upgrades,
        hypervisor=record.hypervisor,
        memory_bytes=record.capacity.memory_bytes,
        images=[f"{one.name}@{one.snapshot}" for one in images[:FEW_IMAGES]],
        more_images=len(images[FEW_IMAGES:]),
    )


def has_labels(record: HostRecord, selector: Mapping[str, str]) -> bool:
    """Whether the host has all of these."""
    return all(record.labels.get(name) == value for name, value in selector.items())


def expelled(memory: LeaderMemory, host_id: str) -> str:
    """Why the host is expelled; empty: it is not."""
    denied = memory.state.denied.get(str(Peer(Role.AGENT, host_id)))
    return denied.reason if denied else ""


def reached_by(memory: LeaderMemory, host_id: str) -> str:
    """The standby that reaches the host while the leader does not; empty: none, or the host is
    live or lost."""
    if _health(memory, host_id) in (Health.LIVE, Health.LOST):
        return ""
    return memory.reachability.by(host_id)


def host_detail(memory: LeaderMemory, planning: Planning, host_id: str) -> cluster.HostDetail:
    """Raises Refused."""
    record = memory.host(host_id)
    seen = memory.observed.host(host_id)
    request = memory.assignment_message(host_id)
    return cluster.HostDetail(
        summary=host_summary(memory, planning, host_id),
        facts=_facts(record, memory.believed(host_id).capacity),
        shards=request.assignment.shards if request else [],
        tombstones=[
            tombstone
            for tombstone in (request.assignment.tombstones if request else ())
            if tombstone.id not in seen.released
        ],
        # Without its seal: that is for the host alone.
        epoch=memory.state.assignment_epoch(host_id).message() if request else None,
        reported_epoch=seen.epoch.message(),
        problems=seen.problems,
        orphans=[
            wire.Orphans(fleet_uid=uid, birth=birth, ranges=to_wire(ranges))
            for uid, birth, ranges in seen.orphans
        ],
        fleets=request.assignment.fleets if request else [],
        drain=drain_queries.progress_of(memory, planning, host_id) if record.draining else None,
    )


def _facts(record: HostRecord, capacity: Capacity) -> types.HostFacts:
    """As it announced them; `capacity`: as far as it counts."""
    facts = told_holdings(record.holdings)
    facts.MergeFrom(
        types.HostFacts(
            machine_id=record.machine_id,
            incarnation=record.incarnation,
            labels=dict(record.labels),
            capacity=types.Capacity(
                guests=capacity.guests,
                memory_bytes=capacity.memory_bytes,
                disks=capacity.disks,
                vifs=capacity.vifs,
                event_channels=capacity.event_channels,
                binding_limit=record.binding_limit,
                boots=capacity.boots,
            ),
            agent_version=record.agent_version,
            hypervisor=record.hypervisor,
            storage=record.storage,
            upgrades=record.upgrades,
        )
    )
    if capacity.clones and record.holdings.clones:
        facts.clones.most = capacity.clones
    return facts


def _health(memory: LeaderMemory, host_id: str) -> Health:
    """As its link has it, or the verdict, if there is one."""
    return Health.LOST if host_id in memory.state.lost else memory.links.health(host_id)
