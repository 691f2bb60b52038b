"""Answers about fleets and the whole cluster, from the leader's memory and planning: no I/O, no
waiting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.changes import Scaling
from fleet_controller.core.host_claims import most_guests, void_claim
from fleet_controller.core.model import FleetRecord, Health
from fleet_controller.core.placement.placement import FleetPlan
from fleet_controller.core.placement.unplaced import Unplaced
from fleet_controller.core.refusals import named_fleet
from fleet_controller.core.vm_states import FAILED, RUNNING, STOPPING, UNKNOWN
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.planning import Planning
from fleet_controller.queries import budgets as budget_queries
from fleet_controller.queries import drains as drain_queries
from fleet_controller.queries import duplicates
from fleet_controller.queries import rollouts as rollout_queries
from fleet_controller.queries import schedules as schedule_queries
from fleet_controller.queries import upgrades as upgrade_queries
from fleet_controller.queries.hosts import host_counts, reached_by
from fleet_controller.queries.rebalances import rebalance_status

NOTHING_PLANNED = Planning()
_EXAMPLES = 10
_KINDS = 100  # of problems that hosts report; agents know some two dozen
_MOST = 2**32 - 1  # what a count on the wire can say


def status(
    memory: LeaderMemory,
    planning: Planning,
    name: str,
    waiting_hosts: int = 0,
    sees: Callable[[str], bool] | None = None,
) -> cluster.StatusResponse:
    """One fleet, or with an empty name all that the caller `sees`; None: all of them.
    `waiting_hosts`: those that are due to be declared lost and held by the breaker; that is not in
    the store. Raises Refused."""
    fleets = memory.state.fleets
    chosen = [named_fleet(fleets, name)] if name else list(fleets.values())
    if sees is not None:
        chosen = [fleet for fleet in chosen if sees(fleet.name)]
    shown, more = drain_queries.statuses(memory, planning)
    budgets, more_budgets = budget_queries.statuses(memory, planning, chosen)
    released = memory.state.breaker.released_until - memory.events.now()
    return cluster.StatusResponse(
        fleets=[
            fleet_status(memory, planning, fleet)
            for fleet in sorted(chosen, key=lambda fleet: fleet.name)
        ],
        hosts=host_counts(memory),
        oldest_report_seconds=memory.links.silence(),
        durable=memory.durable,
        breaker=breaker(memory, waiting_hosts),
        breaker_released_seconds=max(0.0, released),
        freeze=freeze_status(memory),
        settling=settling_status(memory),
        drains=shown,
        more_drains=more,
        budgets=budgets,
        more_budgets=more_budgets,
        only_some_fleets=sees is not None and not name,
        certificates=[
            cluster.ExpiringCertificate(holder=one.holder, expires_unix=one.expires, file=one.file)
            for one in memory.certificates.soon
        ],
        upgrade=upgrade_queries.open_upgrade(memory),
    )


def settling_status(memory: LeaderMemory) -> cluster.SettlingStatus | None:
    """None once all hosts were heard or tried."""
    if not memory.settling:
        return None
    return cluster.SettlingStatus(
        replica=memory.replica,
        seconds=memory.clock() - memory.began,
        heard=memory.links.by_health[Health.LIVE],
        hosts=len(memory.state.hosts),
    )


def freeze_status(memory: LeaderMemory) -> cluster.FreezeStatus | None:
    """None while changes are taken."""
    freeze = memory.state.freeze
    if freeze is None:
        return None
    return cluster.FreezeStatus(
        reason=freeze.reason,
        since_unix=freeze.since,
        hosts_ahead=len(memory.hosts_ahead()),
        hosts_unseen=len(memory.state.hosts.keys() - memory.inventory.hosts.keys()),
        store_generation=memory.state.meta.generation,
    )


def fleet_status(
    memory: LeaderMemory, planning: Planning, fleet: FleetRecord
) -> cluster.FleetStatus:
    vector = memory.observed.vectors[fleet.uid]
    counts = vector.counts()
    releasing = memory.observed.releasing[fleet.uid]
    counts[STOPPING] += releasing
    unplaced = max(0, fleet.total - vector.placed)
    plan = planning.plans.get(fleet.name)
    orphans = _orphans(memory, fleet.uid)
    return cluster.FleetStatus(
        fleet=fleet.name,
        uid=fleet.uid,
        total=fleet.total,
        placed=vector.placed,
        unplaced=unplaced,
        states=counts[: UNKNOWN + 1],
        generations=[
            cluster.GenerationCount(generation=g, assigned=placed, running=up)
            for g, (placed, up) in sorted(vector.by_generation().items())
        ],
        unplaced_reasons=_reasons(plan.unplaced) if plan and unplaced else [],
        problems=problems(memory, fleet.uid),
        failed_for_good=memory.observed.failing.of_fleet(fleet.uid),
        as_wanted=vector.as_wanted,
        generation=fleet.generation,
        deleting=fleet.deleting,
        releasing=releasing,
        change=memory.state.fleet_revision(fleet.name),
        changed_by=fleet.changed_by,
        orphans=orphans,
        hosts_used=memory.observed.users[fleet.uid],
        converged=(
            vector.as_wanted == fleet.total == vector.placed
            and not releasing
            and fleet.uid not in memory.state.orders
        ),
        powered_off=vector.powered_off,
        rollout=rollout_queries.rollout_status(memory, planning, fleet),
        duplicates=duplicates.of_fleet(memory, planning, fleet.uid),
        on_lost_hosts=sum(_assigned(memory, host_id, fleet.uid) for host_id in memory.state.lost),
        image_fetches=_image_fetches(memory, fleet),
        misplaced=memory.misplaced.of_fleet(fleet.uid),
        rebalance=rebalance_status(memory, planning, fleet),
        schedule=schedule_queries.schedule_status(memory, fleet),
    )


def _image_fetches(memory: LeaderMemory, fleet: FleetRecord) -> cluster.ImageFetches | None:
    """None where no host of the fleet lacks its image."""
    spec = memory.state.specs.get((fleet.uid, fleet.generation))
    if spec is None or not spec.image.name:
        return None
    return memory.image_fetches.of((spec.image.name, spec.image.snapshot))


def breaker(memory: LeaderMemory, waiting_hosts: int = 0) -> cluster.BreakerStatus | None:
    """None while it is closed."""
    record = memory.state.breaker
    if not record.scopes:
        return None
    return cluster.BreakerStatus(
        reason=record.reason,
        since_unix=record.since,
        scopes=record.scopes,
        waiting_hosts=waiting_hosts,
    )


def problems(memory: LeaderMemory, uid: str) -> list[cluster.StatusProblem]:
    """What is wrong, counted by kind: of VMs of the fleet, and of hosts themselves."""
    found: dict[str, cluster.StatusProblem] = defaultdict(cluster.StatusProblem)
    for host_id in memory.observed.troubled:
        for problem in memory.observed.hosts[host_id].problems:
            if problem.fleet_uid in ("", uid):
                entry = found[problem.kind]
                entry.count = min(entry.count + problem.count, _MOST)
                entry.lasting = problem.lasting and (entry.lasting or not entry.hosts)
                entry.hosts += 1
                entry.example = entry.example or f"{host_id}: {problem.example_message}"
    if len(found) > _KINDS:  # hosts make kinds up: those that most of them have are told
        common = sorted(found, key=lambda kind: (-found[kind].hosts, -found[kind].count, kind))
        for kind in common[_KINDS:]:
            del found[kind]
    links = memory.links
    misbehaving = {host: why for host in links.misbehaving if (why := links.misbehaves(host))}
    for link in memory.links.absent.values():
        untried = memory.settling and not link.tried  # the status says so of all of them
        if not (untried or link.host_id in misbehaving):
            kind, example = absence(memory, link.host_id)
            entry = found[kind]
            entry.hosts += 1
            entry.count += _assigned(memory, link.host_id, uid)
            entry.example = entry.example or example
    for host_id, why in misbehaving.items():
        entry = found["misbehaves"]
        entry.hosts += 1
        entry.count = min(entry.count + _assigned(memory, host_id, uid), _MOST)
        entry.example = entry.example or why
    for why in _void_claims(memory):
        entry = found["capacity_claim"]
        entry.hosts += 1
        entry.example = entry.example or why
    for host_id in memory.links.declining:
        entry = found["assignment_refused"]
        entry.hosts += 1
        entry.count += _assigned(memory, host_id, uid)
        entry.example = entry.example or memory.links.error(host_id)
    for host_id, why in memory.refused.of_late(memory.clock()):
        if host_id in memory.state.hosts:
            entry = found["host_refused"]
            entry.hosts += 1
            entry.example = entry.example or why
    if broken := memory.state.broken:
        entry = found["broken_record"]
        entry.count, entry.example = len(broken), broken.in_words()
    for host_id in memory.unproven.hosts:
        entry = found["distrusted"]
        entry.hosts += 1
        entry.count += _assigned(memory, host_id, uid)
        entry.example = entry.example or memory.unproven.why(host_id)
    for host_id in memory.observed.refusing:
        entry = found["orders_refused"]
        entry.hosts += 1
        entry.count += _assigned(memory, host_id, uid)
        why = memory.observed.host(host_id).orders_refused
        entry.example = entry.example or f"{host_id} cannot take orders: {why}"
    for kind, entry in found.items():
        entry.kind = kind
    return sorted(found.values(), key=lambda entry: (-entry.count, entry.kind))


def _void_claims(memory: LeaderMemory) -> Iterator[str]:
    """A sentence about each host that claims more guests than are believed of it."""
    usual = memory.state.guest_claims.usual
    for host_id in memory.state.guest_claims.above(most_guests(usual)):
        if why := void_claim(memory.state.hosts[host_id], usual):
            yield why


def absence(memory: LeaderMemory, host_id: str) -> tuple[str, str]:
    """What is wrong with a host that is not live, and a sentence that says so."""
    if by := reached_by(memory, host_id):
        return "host_cut_off", f"{host_id}: the leader cannot reach it, and {by} can"
    kind = "host_lost" if host_id in memory.state.lost else "host_unreachable"
    return kind, memory.links.error(host_id) or f"{host_id}: not heard yet"


def fleet_summary(
    memory: LeaderMemory, fleet: FleetRecord, planning: Planning = NOTHING_PLANNED
) -> cluster.FleetSummary:
    vector = memory.observed.vectors[fleet.uid]
    return cluster.FleetSummary(
        name=fleet.name,
        uid=fleet.uid,
        number=fleet.number,
        total=fleet.total,
        generation=fleet.generation,
        deleting=fleet.deleting,
        running=vector.counts()[RUNNING],
        failed=vector.counts()[FAILED],
        as_wanted=vector.as_wanted,
        powered_off=vector.powered_off,
        placed=vector.placed,
        spec=memory.state.specs.get((fleet.uid, fleet.generation)),
        owners=fleet.owners,
        budget=budget_queries.budget_of(memory, planning, fleet),
        schedule=schedule_queries.schedule_status(memory, fleet),
    )


def scale_response(memory: LeaderMemory, scaling: Scaling) -> cluster.ScaleResponse:
    return cluster.ScaleResponse(
        fleet=scaling.fleet.name,
        from_total=scaling.before.total,
        total=scaling.fleet.total,
        plan=_plan(scaling.plan, scaling.token),
        change=memory.state.fleet_revision(scaling.fleet.name),
        schedule=schedule_queries.schedule_status(memory, scaling.fleet),
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


def _assigned(memory: LeaderMemory, host_id: str, uid: str) -> int:
    return len(memory.observed.host(host_id).assignment.indices(uid))


def _orphans(memory: LeaderMemory, uid: str) -> int:
    count = sum(
        len(ranges)
        for host_id in memory.observed.orphaned
        for fleet, _, ranges in memory.observed.hosts[host_id].orphans
        if fleet == uid
    )
    return min(count, _MOST)
