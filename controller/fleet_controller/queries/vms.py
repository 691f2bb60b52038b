"""Answers about single VMs, from the leader's memory alone: no I/O, no waiting."""

from __future__ import annotations

from fleet.identity import checked_index
from fleet.ranges import IndexSet
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import from_wire
from fleet_controller.agents.assignment_messages import fleet_identity
from fleet_controller.core.refusals import Reason, Refused, known_host, named_fleet
from fleet_controller.leader.reign import Reign
from fleet_controller.observed.vectors import FleetVector

PAGE = 100
MAX_PAGE = 10_000


def vms(reign: Reign, request: cluster.ListVmsRequest) -> cluster.ListVmsResponse:
    """A page of one fleet's VMs by index. The cursor is the next index. Raises Refused."""
    fleet = named_fleet(reign.state.fleets, request.fleet)
    vector = reign.observed.vectors[fleet.uid]
    host = None
    if request.host:
        known_host(reign.state.hosts, request.host)
        host = reign.observed.host(request.host).number
    first, within = _asked_indices(request)
    chosen = vector.select(fleet.total, request.state or None, host, within)
    rest = chosen[chosen.searchsorted(first) :]
    page = [int(i) for i in rest[: min(request.limit or PAGE, MAX_PAGE)]]
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
    if request.cursor and not request.cursor.isdecimal():
        what = f"the cursor {request.cursor[:40]!r} is none that a list has told"
        raise Refused(Reason.BAD_QUERY, what)
    try:
        first = checked_index(int(request.cursor or 0))
        return first, from_wire(request.indices) if request.indices else None
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
                detail.powered_off = not shard.power
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
                powered_off=vector.is_off(index),
            )
        )
    return rows, names
