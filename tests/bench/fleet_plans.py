"""What it takes the leader to say what applying ten fleet files would do, at a million VMs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from fleet.ranges import IndexSet
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.link import Link
from fleet_controller.changes.fleets import fit_check
from fleet_controller.core.changes import check_given
from fleet_controller.core.fleet_plans.plans import plan_fleets
from fleet_controller.core.model import Assignment, Capacity, FleetRecord, Health, HostRecord, Shard
from fleet_controller.events import EventLog
from fleet_controller.leader.environment import LeaderSettings
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.mirror.records import put_assignment, put_fleet, put_host, put_spec
from fleet_controller.queries import fleet_plans
from tests.bench.measures import Measured
from tests.processes.small_cluster import spec

FLEETS, HOSTS, VMS = 10, 4480, 1_000_000
_REPEATS = 15


def plans_of_fleets(say: Callable[[str], None], out: Measured) -> None:
    """All ten with another template and other placement, so that all that can be told is told; then
    with another schedule each, too, whose largest total has to fit."""
    say(f"{FLEETS} fleets of {VMS // FLEETS:,} VMs on {HOSTS:,} hosts, in a leader's memory")
    memory = _memory()
    what = f"apply --diff of {FLEETS} fleets, in the server"
    out.add(what, _milliseconds(memory, _other), "ms", 50, 10)
    out.add(f"{what}, each with another schedule", _milliseconds(memory, _scheduled), "ms", 50, 10)


def _milliseconds(memory: LeaderMemory, other: Callable[[int], types.FleetSpec]) -> float:
    request = cluster.PlanFleetsRequest(prune=True)
    for number in range(FLEETS):
        request.fleets.add(name=f"f{number}", spec=other(number))
    scheduled = request.fleets[0].spec.HasField("schedule")
    seconds = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        there = fleet_plans.known(memory, request)
        fits = fit_check(memory) if scheduled else None
        asked = [(one.name, one.spec) for one in request.fleets]
        for name, wanted in asked:
            check_given(name, wanted)
        answer = fleet_plans.answer(plan_fleets(there, asked, prune=True, check=fits))
        answer.SerializeToString()
        seconds.append(time.perf_counter() - began)
    assert all(one.misplaced or scheduled for one in answer.fleets)
    return statistics.median(seconds) * 1000


def _scheduled(number: int) -> types.FleetSpec:
    """There is room for twelve VMs more on each host."""
    other = _other(number)
    other.schedule.points.add(at="0 8 * * *", total=VMS // FLEETS + HOSTS)
    other.placement.per_host = 25
    return other


def _other(number: int) -> types.FleetSpec:
    other = spec(identity=types.Identity(user_data=f"#cloud-config\n# {number}\n" + "x" * 1_000))
    other.vcpus = 2
    other.placement.per_host = 20
    return other


def _memory() -> LeaderMemory:
    memory = LeaderMemory.of_a_new_leader(
        "c1", 1, time.monotonic, True, LeaderSettings(), EventLog(time.time)
    )
    fleets = [
        FleetRecord(f"f{n}", f"00000000-0000-0000-0000-{n:012}", n, total=VMS // FLEETS)
        for n in range(FLEETS)
    ]
    writes = [put_fleet(fleet) for fleet in fleets]
    writes += [put_spec(fleet.uid, 1, spec()) for fleet in fleets]
    share = -(-VMS // FLEETS // HOSTS)
    held: dict[str, Assignment] = {}
    for host in range(HOSTS):
        name = f"h{host:04}"
        writes.append(put_host(HostRecord(name, "a:1", {"rack": "r1"}, Capacity(guests=250))))
        part = IndexSet.span(host * share, min(VMS // FLEETS, (host + 1) * share))
        if part:
            shards = tuple(Shard(fleet.uid, part, 1, 5) for fleet in fleets)
            held[name] = Assignment(shards)
            writes.append(put_assignment(name, held[name]))
    memory.state.written(writes, 10)
    for name, assignment in held.items():
        memory.observed.assigned(name, assignment)
    for name in memory.state.hosts:
        link = Link(name, "a:1", time.monotonic(), heartbeat=60.0)
        memory.links.add(link)
        memory.links.set_health(link, Health.LIVE)
    return memory
