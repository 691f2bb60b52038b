"""What a cell says of its VM, layer by layer: a number from 1 to 14, and what the numbers mean.

Whatever hosts make up, such as kinds of problems, takes part in fourteen numbers and no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from fleet.ranges import IndexSet
from fleet.states.frames import Cells
from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.vm_states import FAILED
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.observed.host_observation import HostObservation
from fleet_controller.observed.vectors import NO_HOST, FleetVector
from fleet_controller.pictures.picture import MOST_NAMED
from fleet_controller.queries.fleets import absence

_OTHERS, _NOTHING = "others", "nothing is wrong"
# Characters of a name that a host makes up.
_LONGEST = 60
# Of failed VMs, whose kind is looked up; of further ones it is `others`. A tenth of a second. Of
# one host so many that a hundredth of all leave most of it to others.
_MOST_RANGES = 50_000
_MOST_OF_HOST = 512


@dataclass(frozen=True, slots=True)
class Values:
    """`by_fleet`: of each VM by its index, by uid; 0 for a VM that is on no host."""

    legend: tuple[str, ...]
    by_fleet: Mapping[str, Cells]


def states(memory: LeaderMemory) -> Values:
    return Values((), {uid: vector.states for uid, vector in _vectors(memory)})


def fleets(memory: LeaderMemory) -> Values:
    """The largest ones are named."""
    records = memory.state.fleets.values()
    legend = _legend({fleet.name: max(1, fleet.total) for fleet in records})
    number = {fleet.uid: _number(legend, fleet.name) for fleet in records}
    return Values(
        legend, {uid: _where_placed(vector, number[uid]) for uid, vector in _vectors(memory)}
    )


def generations(memory: LeaderMemory) -> Values:
    """How far each is behind, so that a rollout is a wave whatever its number is."""
    newest = {fleet.uid: fleet.generation for fleet in memory.state.fleets.values()}
    legend = ("newest generation", "one older", "two older", "three older", "older still")
    found = {}
    for uid, vector in _vectors(memory):
        behind = np.clip(newest[uid] - vector.generations(), 0, len(legend) - 1)
        found[uid] = np.where(vector.hosts == NO_HOST, 0, behind + 1).astype(np.uint8)
    return Values(legend, found)


def hypervisors(memory: LeaderMemory) -> Values:
    """What VMs are run by, as their hosts name it."""
    told = {
        memory.observed.host(one.id).number: one.hypervisor[:_LONGEST] or "not told"
        for one in memory.state.hosts.values()
    }
    legend = _legend(Counter(told.values()))
    by_number = np.zeros(len(memory.observed.names) + 1, np.uint8)  # the last one is NO_HOST's
    for number, name in told.items():
        by_number[number] = _number(legend, name)
    return Values(legend, {uid: by_number[vector.hosts] for uid, vector in _vectors(memory)})


def problems(memory: LeaderMemory) -> Values:
    """By kind, as `status` counts them: of the VM itself, or else of its host."""
    vectors = dict(_vectors(memory))
    of_hosts = dict(_kinds_of_hosts(memory))
    of_vms = list(islice(_kinds_of_vms(memory), _MOST_RANGES))
    # Named are those that most hosts have: what one makes up is in nobody's place.
    said_by = {(one.host, one.kind) for one in of_vms} | set(of_hosts.items())
    legend = (_NOTHING, *_legend(Counter(kind for _, kind in said_by), MOST_NAMED - 1))
    found = {uid: _where_placed(vector, 1) for uid, vector in vectors.items()}
    for uid, vector in vectors.items():
        found[uid][vector.states == FAILED] = _number(legend, _OTHERS)
    for host_id, kind in of_hosts.items():
        observation = memory.observed.host(host_id)
        for shard in observation.assignment.shards:
            if shard.fleet in vectors and not shard.staged:
                _say(found[shard.fleet], shard.ranges, _number(legend, kind))
    for one in of_vms:
        if one.uid in found:
            _say(found[one.uid], IndexSet.span(one.start, one.stop), _number(legend, one.kind))
    for uid, vector in vectors.items():
        found[uid][vector.hosts == NO_HOST] = 0
    return Values(legend, found)


LAYERS: Mapping[cluster.StatesLayer.ValueType, Callable[[LeaderMemory], Values]] = {
    cluster.STATES_LAYER_STATE: states,
    cluster.STATES_LAYER_FLEET: fleets,
    cluster.STATES_LAYER_GENERATION: generations,
    cluster.STATES_LAYER_PROBLEM: problems,
    cluster.STATES_LAYER_HYPERVISOR: hypervisors,
}


def _vectors(memory: LeaderMemory) -> Iterator[tuple[str, FleetVector]]:
    for fleet in memory.state.fleets.values():
        yield fleet.uid, memory.observed.vectors[fleet.uid]


def _where_placed(vector: FleetVector, number: int) -> Cells:
    return np.where(vector.hosts == NO_HOST, 0, number).astype(np.uint8)


def _say(said: Cells, indices: IndexSet, number: int) -> None:
    for start, stop in indices.ranges:
        said[start:stop] = number


def _legend(counts: Mapping[str, int], most: int = MOST_NAMED) -> tuple[str, ...]:
    """The most frequent ones, in an order that does not follow their numbers: `others` is last."""
    frequent = sorted(counts, key=lambda name: (-counts[name], name))[: most - 1]
    return (*sorted(frequent), _OTHERS)


def _number(legend: tuple[str, ...], name: str) -> int:
    return (legend.index(name) if name in legend else len(legend) - 1) + 1


def _kinds_of_hosts(memory: LeaderMemory) -> Iterator[tuple[str, str]]:
    """The gravest last: what is said of a host last counts."""
    yield from _each(memory.observed.refusing, "orders_refused")
    yield from _each(memory.links.declining, "assignment_refused")
    yield from _each(memory.unproven.hosts, "distrusted")
    for link in memory.links.absent.values():
        if not (memory.settling and not link.tried):
            yield link.host_id, absence(memory, link.host_id)[0]
    yield from _each((one for one in memory.links.misbehaving), "misbehaves")


def _each(hosts: Iterable[str], kind: str) -> Iterator[tuple[str, str]]:
    return ((host, kind) for host in hosts)


class _Failed(NamedTuple):
    """Indices start to stop-1."""

    host: str
    kind: str
    uid: str
    start: int
    stop: int


def _kinds_of_vms(memory: LeaderMemory) -> Iterator[_Failed]:
    for host_id in memory.observed.troubled:
        yield from islice(_kinds_of(host_id, memory.observed.hosts[host_id]), _MOST_OF_HOST)


def _kinds_of(host_id: str, observation: HostObservation) -> Iterator[_Failed]:
    """What a host does not hold is not its to judge."""
    for problem in observation.problems:
        mine = observation.assignment.indices(problem.fleet_uid)
        for part in problem.failed:
            for start, stop in (mine & IndexSet.span(part.start, part.stop)).ranges:
                yield _Failed(host_id, problem.kind[:_LONGEST], problem.fleet_uid, start, stop)
