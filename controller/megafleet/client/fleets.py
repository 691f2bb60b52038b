"""Fleets: what is known of them, and what changes them.

What the cluster tells is frozen, and `message` holds all that it said, as the wire has it: a field
that has no property here is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fleet.v1 import cluster_pb2 as wire
from megafleet.client.words import VmState
from megafleet.connection.cluster import Cluster
from megafleet.connection.fleet_plans import plan_of_all, plan_requests
from megafleet.errors import InvalidArgument
from megafleet.fleet_file.parser import ParsedFleet
from megafleet.progress import running


@dataclass(frozen=True, slots=True)
class Fleet:
    """One fleet of a list."""

    name: str
    total: int
    running: int
    placed: int
    failed: int
    generation: int
    deleting: bool
    message: wire.FleetSummary = field(repr=False)


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """How one fleet stands. `states`: how many of its placed VMs are in each; `unplaced_reasons`
    and `problems`: how many VMs, by word."""

    name: str
    total: int
    running: int
    unplaced: int
    failed_for_good: int
    releasing: int
    converged: bool
    deleting: bool
    change: int
    states: Mapping[VmState, int]
    unplaced_reasons: Mapping[str, int]
    problems: Mapping[str, int]
    message: wire.FleetStatus = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """`hosts` and `live_hosts`: how many. `stale`: why it is of the past, empty where a leader
    tells it; then it is `age` seconds old. `frozen`: why no change is taken; empty: all are."""

    fleets: tuple[FleetStatus, ...]
    hosts: int
    live_hosts: int
    stale: str
    age: float
    frozen: str
    message: wire.StatusResponse = field(repr=False)

    def fleet(self, name: str) -> FleetStatus | None:
        return next((one for one in self.fleets if one.name == name), None)


@dataclass(frozen=True, slots=True)
class Applied:
    """`changed`: VMs are made of another template from now on; `settings`: fields that are other
    ones now and make no generation. `change_id`: as history, events and logs have it."""

    fleet: Fleet
    created: bool
    changed: bool
    settings: tuple[str, ...]
    change_id: str
    message: wire.ApplyFleetResponse = field(repr=False)


@dataclass(frozen=True, slots=True)
class FleetPlans:
    """What applying would do; `token`: of all of it, as `fleetctl apply --token` takes it."""

    fleets: tuple[wire.FleetPlan, ...]
    token: str
    message: wire.PlanFleetsResponse = field(repr=False)

    def token_of(self, fleet: str) -> str:
        """To be given with the fleet's own apply or delete; empty: the plan has no such fleet."""
        return next((one.token for one in self.fleets if one.fleet == fleet), "")


@dataclass(frozen=True, slots=True)
class Scaled:
    """An accepted scale, to be waited for; or the plan of one, with the token that carries it out.
    `adds`, `moves`, `removes`, `unplaced`: VMs."""

    fleet: str
    from_total: int
    total: int
    partial: bool
    change: int
    adds: int
    moves: int
    removes: int
    unplaced: int
    token: str
    change_id: str
    message: wire.ScaleResponse = field(repr=False)


def all_fleets(cluster: Cluster) -> list[Fleet]:
    answer = cluster.call(lambda stub: stub.ListFleets, wire.ListFleetsRequest())
    return [fleet_of(one) for one in answer.fleets]


def status(cluster: Cluster, fleet: str) -> ClusterStatus:
    answer = cluster.call(lambda stub: stub.Status, wire.StatusRequest(fleet=fleet))
    return status_of(answer)


def apply(cluster: Cluster, fleet: ParsedFleet, token: str) -> Applied:
    request = wire.ApplyFleetRequest(name=fleet.name, spec=fleet.spec, plan_token=token)
    answer = cluster.change(lambda stub: stub.ApplyFleet, request, again=not token)
    return Applied(
        fleet_of(answer.fleet), answer.created, answer.changed, tuple(answer.settings),
        cluster.change_id, answer,
    )  # fmt: skip


def plan_apply(cluster: Cluster, fleets: Iterable[ParsedFleet], prune: bool) -> FleetPlans:
    parts = [
        cluster.call(lambda stub: stub.PlanFleets, request)
        for request in plan_requests(list(fleets), prune=prune)
    ]
    plan = plan_of_all(parts)
    return FleetPlans(tuple(plan.fleets), plan.token, plan)


def delete(cluster: Cluster, name: str, token: str) -> Fleet:
    request = wire.DeleteFleetRequest(name=name, plan_token=token)
    return fleet_of(cluster.change(lambda stub: stub.DeleteFleet, request).fleet)


def scale(cluster: Cluster, fleet: str, total: int, partial: bool, token: str) -> Scaled:
    request = _scale_request(fleet, total, partial)
    request.plan_token = token
    answer = cluster.change(lambda stub: stub.Scale, request, again=not token)
    return _scaled(answer, partial, cluster.change_id)


def plan_scale(cluster: Cluster, fleet: str, total: int, partial: bool) -> Scaled:
    request = _scale_request(fleet, total, partial)
    request.plan_only = True
    return _scaled(cluster.call(lambda stub: stub.Scale, request), partial, "")


def _scale_request(fleet: str, total: int, partial: bool) -> wire.ScaleRequest:
    """Raises InvalidArgument for what is no total. How many there may be the controller says."""
    if not 0 <= total < 1 << 63:
        raise InvalidArgument(f"a total is 0 or more; got {total}")
    return wire.ScaleRequest(fleet=fleet, total=total, partial=partial)


def fleet_of(message: wire.FleetSummary) -> Fleet:
    return Fleet(
        message.name, message.total, message.running, message.placed, message.failed,
        message.generation, message.deleting, message,
    )  # fmt: skip


def fleet_status_of(message: wire.FleetStatus) -> FleetStatus:
    return FleetStatus(
        name=message.fleet, total=message.total, running=running(message),
        unplaced=message.unplaced, failed_for_good=message.failed_for_good,
        releasing=message.releasing, converged=message.converged, deleting=message.deleting,
        change=message.change, states=_states(message.states),
        unplaced_reasons={one.reason: one.count for one in message.unplaced_reasons},
        problems={one.kind: one.count for one in message.problems}, message=message,
    )  # fmt: skip


def status_of(message: wire.StatusResponse) -> ClusterStatus:
    return ClusterStatus(
        fleets=tuple(fleet_status_of(one) for one in message.fleets),
        hosts=message.hosts.total, live_hosts=message.hosts.live,
        stale=message.read_only, age=message.as_of_seconds,
        frozen=message.freeze.reason, message=message,
    )  # fmt: skip


def _states(counts: Sequence[int]) -> dict[VmState, int]:
    """The wire counts by number, and 0 is no state."""
    return {
        state: counts[number] if number < len(counts) else 0
        for number, state in enumerate(VmState, start=1)
    }


def _scaled(answer: wire.ScaleResponse, partial: bool, change_id: str) -> Scaled:
    plan = answer.plan
    return Scaled(
        fleet=answer.fleet, from_total=answer.from_total, total=answer.total, partial=partial,
        change=answer.change, adds=plan.adds, moves=plan.moves, removes=plan.removes,
        unplaced=plan.unplaced, token=plan.token, change_id=change_id, message=answer,
    )  # fmt: skip
