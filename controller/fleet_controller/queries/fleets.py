"""Answers about fleets and the whole cluster, from the leader's memory alone: no I/O, no
waiting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.link import Link
from fleet_controller.core.changes import Scaling
from fleet_controller.core.model import FleetRecord, Health
from fleet_controller.core.placement.placement import FleetPlan
from fleet_controller.core.placement.unplaced import Unplaced
from fleet_controller.core.refusals import named_fleet
from fleet_controller.leader.reign import Reign
from fleet_controller.observed.vectors import RUNNING
from fleet_controller.queries import drains as drain_queries
from fleet_controller.queries.hosts import host_counts, reached_by
from fleet_controller.store import keys

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
    shown, more = drain_queries.statuses(reign)
    return cluster.StatusResponse(
        fleets=[fleet_status(reign, fleet) for fleet in sorted(chosen, key=lambda f: f.name)],
        hosts=host_counts(reign),
        oldest_report_seconds=reign.links.silence(),
        breaker=breaker(reign),
        breaker_released_seconds=max(0.0, reign.state.breaker.released_until - reign.events.now()),
        freeze=freeze_status(reign),
        settling=settling_status(reign),
        drains=shown,
        more_drains=more,
    )


def settling_status(reign: Reign) -> cluster.SettlingStatus | None:
    """None once all hosts were heard or tried; who leads is not known here."""
    if not reign.settling:
        return None
    return cluster.SettlingStatus(
        seconds=reign.now() - reign.began,
        heard=reign.links.by_health[Health.LIVE],
        hosts=len(reign.state.hosts),
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
            untold = reign.settling and not link.tried  # the status says so of all of them
            if link.health is not Health.LIVE and not untold:
                kind, example = _absence(reign, link)
                entry = found[kind]
                entry.hosts += 1
                entry.count += _assigned(reign, link.host_id, uid)
                entry.example = entry.example or example
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


def _absence(reign: Reign, link: Link) -> tuple[str, str]:
    """What is wrong with a host that is not live, and a sentence that says so."""
    if by := reached_by(reign, link.host_id):
        return "host_cut_off", f"{link.host_id}: the leader cannot reach it, and {by} can"
    kind = "host_lost" if link.host_id in reign.state.lost else "host_unreachable"
    return kind, link.error or f"{link.host_id}: not heard yet"


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
