"""Answers about single VMs, from the leader's memory alone: no I/O, no waiting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fleet.identity import MAX_INDEX, checked_index
from fleet.ranges import IndexSet
from fleet.template.bridges import networks_of
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import from_wire
from fleet_controller.agents.assignment_messages import fleet_identity
from fleet_controller.core.model import FleetRecord, Shard
from fleet_controller.core.refusals import Reason, Refused, check_vm, named_fleet
from fleet_controller.core.vm_states import FAILED
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.planning import Planning
from fleet_controller.observed.failures import failure_of
from fleet_controller.observed.vectors import NO_HOST, FleetVector
from fleet_controller.queries.clones import set_started
from fleet_controller.queries.hosts import has_labels
from fleet_controller.queries.vm_orders import by_order

PAGE = 100
MAX_PAGE = 10_000


def vms(memory: LeaderMemory, request: cluster.ListVmsRequest) -> cluster.ListVmsResponse:
    """A page of one fleet's VMs. The cursor is the next index, where they are listed by that; of
    any other order `skip` says where the page begins. Raises Refused."""
    fleet = named_fleet(memory.state.fleets, request.fleet)
    vector = memory.observed.vectors[fleet.uid]
    hosts = _asked_hosts(memory, request)
    first, within = _asked_indices(request)
    chosen = vector.select(
        fleet.total, request.state or None, hosts, within, off_only=request.powered_off_only
    )
    position = int(chosen.searchsorted(first)) + request.skip
    ordered = by_order(memory, vector, chosen, request.order, request.descending)
    rest = ordered[position:]
    page = [int(i) for i in rest[: min(request.limit or PAGE, MAX_PAGE)]]
    by_index = ordered is chosen
    reasons = _Reasons(memory, fleet)
    rows, names = _rows(memory, vector, page, reasons)
    return cluster.ListVmsResponse(
        fleet=fleet_identity(fleet.identity),
        vms=rows,
        hosts=names,
        next_cursor=str(page[-1] + 1) if by_index and len(page) < len(rest) else "",
        matching=len(chosen),
        networks=_networks(memory, fleet.uid, {row.generation for row in rows}),
        reasons=reasons.texts,
        selected_hosts=len(hosts or ()) if request.host_selector else None,
        position=min(position, len(chosen)),
    )


def _asked_hosts(memory: LeaderMemory, request: cluster.ListVmsRequest) -> set[int] | None:
    """Numbers of those that are asked for; None: VMs of all hosts and of none. Raises Refused."""
    if not request.host and not request.host_selector:
        return None
    asked = [memory.host(request.host)] if request.host else memory.state.hosts.values()
    return {
        memory.observed.host(one.id).number
        for one in asked
        if has_labels(one, request.host_selector)
    }


def _networks(
    memory: LeaderMemory, uid: str, generations: Iterable[int]
) -> Iterator[cluster.GenerationNetworks]:
    """What the addresses follow from: of those generations that have any."""
    for generation in sorted(generations):
        spec = memory.state.specs.get((uid, generation))
        networks = list(networks_of(spec)) if spec else []
        prefixes = [one.prefix for one in networks]
        mac_bases = [one.mac_base for one in networks]
        if any(prefixes) or any(mac_bases):
            yield cluster.GenerationNetworks(
                generation=generation, prefixes=prefixes, mac_bases=mac_bases
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


def vm(memory: LeaderMemory, planning: Planning, request: cluster.GetVmRequest) -> cluster.VmDetail:
    """One VM. Raises Refused."""
    fleet, index = named_fleet(memory.state.fleets, request.fleet), request.index
    check_vm(fleet, index)
    detail = cluster.VmDetail(fleet=fleet_identity(fleet.identity), index=index)
    if holder := memory.holder_of(fleet.uid, index):
        _set_holder(memory, detail, *holder)
    else:
        detail.unplaced_reason = planning.why_unplaced(fleet.name, index)
    generation = detail.generation or fleet.generation
    if spec := memory.state.specs.get((fleet.uid, generation)):
        detail.spec.CopyFrom(spec)
    set_started(memory, detail)
    return detail


def _set_holder(memory: LeaderMemory, detail: cluster.VmDetail, host_id: str, shard: Shard) -> None:
    detail.host, detail.host_address = host_id, memory.host(host_id).address
    detail.generation, detail.birth = shard.generation, shard.birth
    detail.powered_off = not shard.power
    vector = memory.observed.vectors[shard.fleet]
    _set_lifetime(detail, vector, memory.clock())
    state = int(vector.states[detail.index])
    detail.state = types.VmState.ValueType(state)
    if state != FAILED:
        return
    problems = memory.observed.host(host_id).problems
    if failure := failure_of(problems, shard.fleet, detail.index):
        detail.problem.CopyFrom(failure.problem)
        del detail.problem.failed[:]
        detail.failed_since_unix = failure.since_unix


def _set_lifetime(told: cluster.VmRow | cluster.VmDetail, vector: FleetVector, now: float) -> None:
    since = vector.lifetimes.since(told.index)
    if since is not None:
        told.state_seconds = max(0, int(now - since))
    told.restarts = vector.lifetimes.restarts(told.index)


class _Reasons:
    """Why the VMs of a page have failed: each reason once, in the order of the page."""

    def __init__(self, memory: LeaderMemory, fleet: FleetRecord) -> None:
        self._memory = memory
        self._fleet = fleet
        self._places = {"": 0}

    @property
    def texts(self) -> list[str]:
        return list(self._places)

    def set_reason(self, row: cluster.VmRow, host_id: str) -> None:
        problems = self._memory.observed.host(host_id).problems
        failure = failure_of(problems, self._fleet.uid, row.index)
        if failure is None:
            return
        text = self._text(failure.problem, row.index)
        row.reason = self._places.setdefault(text, len(self._places))
        row.since_unix = failure.since_unix

    def _text(self, problem: wire.Problem, index: int) -> str:
        """A host has an example for all that it counts together."""
        if problem.example_index == index or problem.count == 1:
            return f"{problem.kind}: {problem.example_message}"
        example = problem.example_index
        whose = f", as {self._fleet.identity.domain_name(example)}" if example <= MAX_INDEX else ""
        return f"{problem.kind}{whose}: {problem.example_message}"


def _rows(
    memory: LeaderMemory, vector: FleetVector, page: list[int], reasons: _Reasons
) -> tuple[list[cluster.VmRow], list[str]]:
    names, places = [""], {-1: 0}
    rows = []
    for index in page:
        number = int(vector.hosts[index])
        if number not in places:
            places[number] = len(names)
            names.append(memory.observed.names[number])
        row = cluster.VmRow(
            index=index,
            state=types.VmState.ValueType(int(vector.states[index])),
            host=places[number],
            generation=vector.generation_of(index),
            powered_off=vector.is_off(index),
        )
        _set_lifetime(row, vector, memory.clock())
        if row.state == FAILED and number != NO_HOST:
            reasons.set_reason(row, names[places[number]])
        rows.append(row)
    return rows, names
