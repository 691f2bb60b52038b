"""Answers to questions, from the leader's memory alone: no I/O, no waiting."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from fleet.identity import checked_index
from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.assignments import fleet_identity
from fleet_controller.core.changes import Reason, Refused, Scaling, named_fleet
from fleet_controller.core.model import FleetRecord, Health
from fleet_controller.core.placement import FleetPlan
from fleet_controller.core.unplaced import Unplaced
from fleet_controller.observed import ranges_of, wire_ranges
from fleet_controller.reign import Reign
from fleet_controller.store import keys
from fleet_controller.vectors import RUNNING, FleetVector

VM_PAGE = 100
MAX_PAGE = 10_000
HOST_PAGE = 1000
_EXAMPLES = 10
# A refused agent tries again more often than that.
_REFUSAL_SHOWN_SECONDS = 300.0
_MOST = 2**32 - 1  # what a count on the wire can say
STOPPING = int(types.VM_STATE_STOPPING)
FAILED = int(types.VM_STATE_FAILED)


def status(reign: Reign, name: str) -> cluster.StatusResponse:
    """One fleet, or with an empty name all of them. Raises Refused."""
    fleets = reign.state.fleets
    chosen = [named_fleet(fleets, name)] if name else list(fleets.values())
    return cluster.StatusResponse(
        fleets=[fleet_status(reign, fleet) for fleet in sorted(chosen, key=lambda f: f.name)],
        hosts=host_counts(reign),
        oldest_report_seconds=reign.links.silence(),
        breaker=breaker(reign),
        freeze=freeze_status(reign),
    )


def freeze_status(reign: Reign) -> cluster.FreezeStatus | None:
    """None while changes are taken."""
    if reign.frozen is None:
        return None
    return cluster.FreezeStatus(
        reason=reign.frozen.reason,
        since_unix=reign.frozen.since,
        hosts_ahead=len(reign.ahead()),
        hosts_unseen=len(reign.state.hosts.keys() - reign.inventory.hosts.keys()),
        store_generation=reign.state.meta.generation,
    )


def fleet_status(reign: Reign, fleet: FleetRecord) -> cluster.FleetStatus:
    vector = reign.observed.vectors[fleet.uid]
    counts = vector.counts()
    releasing = reign.observed.releasing[fleet.uid]
    counts[STOPPING] += releasing
    unplaced = max(0, fleet.total - vector.placed)
    plan = reign.plans.get(fleet.name)
    orphans = _orphans(reign, fleet.uid)
    return cluster.FleetStatus(
        fleet=fleet.name,
        uid=fleet.uid,
        total=fleet.total,
        placed=vector.placed,
        unplaced=unplaced,
        states=counts[: STOPPING + 3],
        generations=[
            cluster.GenerationCount(generation=g, assigned=placed, running=up)
            for g, (placed, up) in sorted(vector.by_generation().items())
        ],
        unplaced_reasons=_reasons(plan.unplaced) if plan and unplaced else [],
        problems=problems(reign, fleet.uid),
        generation=fleet.generation,
        deleting=fleet.deleting,
        releasing=releasing,
        change=reign.state.mod_revision(keys.fleet(fleet.name)),
        changed_by=fleet.changed_by,
        orphans=orphans,
        hosts_used=reign.observed.users[fleet.uid],
        converged=vector.as_wanted == fleet.total == vector.placed and not releasing,
        powered_off=vector.powered_off,
        rollout=rollout_status(reign, fleet),
        duplicates=sum(counts.get(fleet.uid, 0) for counts in reign.duplicates.values()),
        on_lost_hosts=sum(_assigned(reign, host_id, fleet.uid) for host_id in reign.state.lost),
    )


def rollout_status(reign: Reign, fleet: FleetRecord) -> cluster.RolloutStatus | None:
    """The fleet's last rollout; None when there never was one."""
    record = reign.state.rollouts.get(fleet.uid)
    if record is None:
        return None
    vector, target = reign.observed.vectors[fleet.uid], record.to_generation
    placed, _ = vector.by_generation().get(target, (0, 0))
    running = vector.of_generation(target, RUNNING)
    failed = vector.of_generation(target, FAILED)
    off = vector.off_of_generation(target)
    progress = reign.last_pass.progress.get(fleet.uid) if record.open else None
    return cluster.RolloutStatus(
        fleet=fleet.name,
        from_generation=record.from_generation,
        to_generation=target,
        done=running + off,
        left=vector.placed - placed,
        state=record.state,
        changing=placed - running - off - failed,
        failed=failed,
        wave=progress.wave if progress else "",
        message=record.why or (progress.message if progress else ""),
        since_unix=record.since_unix,
        actor=record.actor,
    )


def host_counts(reign: Reign) -> cluster.HostCounts:
    by = Counter(reign.links.by_health)
    for host_id in reign.state.lost:
        by[_health(reign, host_id, seen=True)] -= 1
        by[Health.LOST] += 1
    return cluster.HostCounts(
        live=by[Health.LIVE],
        unreachable=by[Health.UNREACHABLE],
        suspect=by[Health.SUSPECT],
        lost=by[Health.LOST],
        cordoned=reign.state.cordoned,
        converged=reign.observed.converged,
        total=len(reign.state.hosts),
        draining=len(reign.state.draining),
        quarantined=len(reign.state.quarantined),
    )


def breaker(reign: Reign) -> cluster.BreakerStatus | None:
    """None while it is closed. How many hosts wait for it is not in the store."""
    record = reign.state.breaker
    if not record.scopes:
        return None
    return cluster.BreakerStatus(
        reason=record.reason, since_unix=record.since, scopes=record.scopes
    )


def problems(reign: Reign, uid: str) -> list[cluster.StatusProblem]:
    """What is wrong, counted by kind: of VMs of the fleet, and of hosts themselves."""
    found: dict[str, cluster.StatusProblem] = defaultdict(cluster.StatusProblem)
    for host_id in reign.observed.troubled:
        for problem in reign.observed.hosts[host_id].problems:
            if problem.fleet_uid in ("", uid):
                entry = found[problem.kind]
                entry.count = min(entry.count + problem.count, _MOST)
                entry.hosts += 1
                entry.example = entry.example or f"{host_id}: {problem.example_message}"
    if len(reign.links.links) != reign.links.by_health[Health.LIVE]:
        for link in reign.links.links.values():
            if link.health is not Health.LIVE:
                lost = link.host_id in reign.state.lost
                entry = found["host_lost" if lost else "host_unreachable"]
                entry.hosts += 1
                entry.count += _assigned(reign, link.host_id, uid)
                entry.example = entry.example or link.error or f"{link.host_id}: not dialled yet"
    for host_id in reign.links.declining:
        entry = found["assignment_refused"]
        entry.hosts += 1
        entry.count += _assigned(reign, host_id, uid)
        entry.example = entry.example or reign.links.links[host_id].error
    for host_id, (at, why) in reign.refused.items():
        if host_id in reign.state.hosts and reign.now() - at < _REFUSAL_SHOWN_SECONDS:
            entry = found["host_refused"]
            entry.hosts += 1
            entry.example = entry.example or why
    for kind, entry in found.items():
        entry.kind = kind
    return sorted(found.values(), key=lambda entry: (-entry.count, entry.kind))


def fleet_summary(reign: Reign, fleet: FleetRecord) -> cluster.FleetSummary:
    vector = reign.observed.vectors[fleet.uid]
    return cluster.FleetSummary(
        name=fleet.name,
        uid=fleet.uid,
        number=fleet.number,
        total=fleet.total,
        generation=fleet.generation,
        deleting=fleet.deleting,
        running=vector.counts()[RUNNING],
        placed=vector.placed,
        spec=reign.state.specs.get((fleet.uid, fleet.generation)),
    )


def scale_response(reign: Reign, scaling: Scaling) -> cluster.ScaleResponse:
    return cluster.ScaleResponse(
        fleet=scaling.fleet.name,
        from_total=scaling.before.total,
        total=scaling.fleet.total,
        plan=_plan(scaling.plan, scaling.token),
        change=reign.state.mod_revision(keys.fleet(scaling.fleet.name)),
    )


def hosts(reign: Reign, request: cluster.ListHostsRequest) -> cluster.ListHostsResponse:
    """A page of hosts by id. The cursor is the last id of the page before."""
    wanted = [
        host_id
        for host_id, record in reign.state.hosts.items()
        if (not request.health or int(_health(reign, host_id)) == request.health)
        and (record.cordoned or not request.cordoned_only)
        and all(record.labels.get(k) == v for k, v in request.selector.items())
    ]
    wanted.sort()
    rest = [host_id for host_id in wanted if host_id > request.cursor]
    page = rest[: min(request.limit or HOST_PAGE, MAX_PAGE)]
    return cluster.ListHostsResponse(
        hosts=[host_summary(reign, host_id) for host_id in page],
        next_cursor=page[-1] if len(page) < len(rest) else "",
        matching=len(wanted),
    )


def host_summary(reign: Reign, host_id: str) -> cluster.HostSummary:
    record = reign.state.hosts[host_id]
    seen = reign.observed.host(host_id)
    link = reign.links.links.get(host_id)
    shards = seen.assignment.shards

    def counted(state: int) -> int:
        return sum(reign.observed.vectors[s.fleet].count_within(s.ranges, state) for s in shards)

    return cluster.HostSummary(
        id=host_id,
        address=record.address,
        health=cluster.HostHealth.ValueType(int(_health(reign, host_id))),
        cordoned=record.cordoned,
        assigned=sum(len(shard.ranges) for shard in shards),
        running=counted(RUNNING),
        capacity_guests=record.capacity.guests,
        labels=dict(record.labels),
        report_age_seconds=reign.links.age(host_id),
        converged=seen.converged,
        failed=counted(FAILED),
        link_error=link.error if link else "",
        draining=record.draining,
        quarantine=record.quarantine,
        duplicates=sum(reign.duplicates.get(host_id, {}).values()),
    )


def host_detail(reign: Reign, host_id: str) -> cluster.HostDetail:
    """Raises Refused."""
    record = reign.state.hosts.get(host_id)
    if record is None:
        raise Refused(Reason.NO_SUCH_HOST, f"there is no host {host_id[:80]!r}")
    seen = reign.observed.host(host_id)
    request = reign.assignment_message(host_id)
    generation, revision = seen.epoch
    capacity = record.capacity
    return cluster.HostDetail(
        summary=host_summary(reign, host_id),
        facts=types.HostFacts(
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
            ),
            agent_version=record.agent_version,
            hypervisor=record.hypervisor,
            storage=record.storage,
        ),
        shards=request.assignment.shards if request else [],
        tombstones=[
            tombstone
            for tombstone in (request.assignment.tombstones if request else ())
            if tombstone.id not in seen.released
        ],
        epoch=request.epoch if request else None,
        reported_epoch=types.Epoch(store_generation=generation, revision=revision),
        problems=seen.problems,
        orphans=[
            wire.Orphans(fleet_uid=uid, birth=birth, ranges=wire_ranges(ranges))
            for uid, birth, ranges in seen.orphans
        ],
        fleets=request.assignment.fleets if request else [],
    )


def vms(reign: Reign, request: cluster.ListVmsRequest) -> cluster.ListVmsResponse:
    """A page of one fleet's VMs by index. The cursor is the next index. Raises Refused."""
    fleet = named_fleet(reign.state.fleets, request.fleet)
    vector = reign.observed.vectors[fleet.uid]
    host = None
    if request.host:
        if request.host not in reign.state.hosts:
            raise Refused(Reason.NO_SUCH_HOST, f"there is no host {request.host[:80]!r}")
        host = reign.observed.host(request.host).number
    first, within = _asked_indices(request)
    chosen = vector.select(fleet.total, request.state or None, host, within)
    rest = chosen[chosen.searchsorted(first) :]
    page = [int(i) for i in rest[: min(request.limit or VM_PAGE, MAX_PAGE)]]
    rows, names = _rows(reign, vector, page)
    return cluster.ListVmsResponse(
        fleet=fleet_identity(fleet.identity),
        vms=rows,
        hosts=names,
        next_cursor=str(page[-1] + 1) if len(page) < len(rest) else "",
        matching=len(chosen),
    )


def _asked_indices(request: cluster.ListVmsRequest) -> tuple[int, IndexSet | None]:
    """Where the page begins, and what it is limited to."""
    try:
        first = checked_index(int(request.cursor or 0))
        return first, ranges_of(request.indices) if request.indices else None
    except ValueError as error:
        raise Refused(
            Reason.BAD_QUERY,
            f"the cursor {request.cursor[:40]!r} or a range of indices is not one: {error}",
        ) from error


def vm(reign: Reign, request: cluster.GetVmRequest) -> cluster.VmDetail:
    """One VM. Raises Refused."""
    fleet = named_fleet(reign.state.fleets, request.fleet)
    if request.index >= fleet.total:
        raise Refused(
            Reason.NO_SUCH_VM,
            f"fleet {fleet.name} has {fleet.total:,} VMs, counted from 0: "
            f"there is no {request.index}",
        )
    detail = cluster.VmDetail(fleet=fleet_identity(fleet.identity), index=request.index)
    for host_id, record in reign.state.assignments.items():
        for shard in record.shards:
            here = shard.fleet == fleet.uid and request.index in shard.ranges
            if here and not (shard.staged and detail.host):  # it runs where it is not staged
                detail.host = host_id
                detail.generation, detail.birth = shard.generation, shard.birth
    if detail.host:
        vector = reign.observed.vectors[fleet.uid]
        detail.state = types.VmState.ValueType(int(vector.states[request.index]))
        known = reign.state.hosts.get(detail.host)
        detail.host_address = known.address if known else ""
        for problem in reign.observed.host(detail.host).problems:
            if problem.fleet_uid == fleet.uid and detail.state == types.VM_STATE_FAILED:
                detail.problem.CopyFrom(problem)
    else:
        plan = reign.plans.get(fleet.name)
        for reason in plan.unplaced if plan else ():
            if request.index in reason.indices:
                detail.unplaced_reason = reason.message
    generation = detail.generation or fleet.generation
    if spec := reign.state.specs.get((fleet.uid, generation)):
        detail.spec.CopyFrom(spec)
    return detail


def _rows(
    reign: Reign, vector: FleetVector, page: list[int]
) -> tuple[list[cluster.VmRow], list[str]]:
    names, places = [""], {-1: 0}
    rows = []
    for index in page:
        number = int(vector.hosts[index])
        if number not in places:
            places[number] = len(names)
            names.append(reign.observed.names[number])
        rows.append(
            cluster.VmRow(
                index=index,
                state=types.VmState.ValueType(int(vector.states[index])),
                host=places[number],
                generation=vector.generation_of(index),
            )
        )
    return rows, names


def _plan(plan: FleetPlan, token: str) -> cluster.Plan:
    return cluster.Plan(
        token=token,
        adds=plan.adds,
        moves=0,
        removes=plan.removes,
        hosts_changed=len(plan.deltas),
        unplaced=sum(len(u.indices) for u in plan.unplaced),
        reasons=_reasons(plan.unplaced),
        examples=[
            cluster.HostChange(host=d.host, adds=d.adds, removes=d.removes, after=d.after)
            for d in plan.deltas[:_EXAMPLES]
        ],
    )


def _reasons(unplaced: Iterable[Unplaced]) -> list[cluster.Unplaced]:
    return [
        cluster.Unplaced(
            reason=one.reason,
            count=len(one.indices),
            first_index=one.indices.first,
            hosts_needed=one.hosts_needed,
            message=one.message,
        )
        for one in unplaced
    ]


def _health(reign: Reign, host_id: str, *, seen: bool = False) -> Health:
    """With the verdict, if there is one; or as its link alone sees it."""
    if host_id in reign.state.lost and not seen:
        return Health.LOST
    link = reign.links.links.get(host_id)
    return link.health if link else Health.UNREACHABLE


def _assigned(reign: Reign, host_id: str, uid: str) -> int:
    return len(reign.observed.host(host_id).assignment.indices(uid))


def _orphans(reign: Reign, uid: str) -> int:
    count = sum(
        len(ranges)
        for host_id in reign.observed.orphaned
        for fleet, _, ranges in reign.observed.hosts[host_id].orphans
        if fleet == uid
    )
    return min(count, _MOST)
