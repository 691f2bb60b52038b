"""What it takes the leader to say what a rebalance would move after hosts have come."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from fleet.ranges import IndexSet
from fleet_controller.agents.link import Link
from fleet_controller.core.model import Assignment, Capacity, FleetRecord, HostRecord, Shard
from fleet_controller.core.rebalance.plan import plan_rebalance
from fleet_controller.events import EventLog
from fleet_controller.leader.environment import LeaderSettings
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.mirror.records import put_assignment, put_fleet, put_host, put_spec
from fleet_controller.queries.rebalances import answer
from tests.bench.measures import Measured
from tests.processes.small_cluster import spec

FLEETS, HOSTS, NEW, VMS = 10, 4480, 448, 1_000_000
_REPEATS = 7
_RACK = 40  # hosts


def plan_of_a_rebalance(say: Callable[[str], None], out: Measured) -> None:
    """All fleets, each on all hosts but the new ones."""
    say(f"{VMS:,} VMs of {FLEETS} fleets on {HOSTS - NEW:,} hosts, {NEW:,} new ones beside them")
    memory = grown_cluster(FLEETS, HOSTS, NEW, VMS)
    seconds = [seconds_of_a_plan(memory) for _ in range(_REPEATS)]
    what = f"plan of a rebalance after {NEW:,} of {HOSTS:,} hosts are added, in the server"
    out.add(what, statistics.median(seconds), "s", 2.0, 0.5)


def seconds_of_a_plan(memory: LeaderMemory) -> float:
    """From the question to the bytes of the answer."""
    began = time.perf_counter()
    fleets = list(memory.state.fleets.values())
    plans = plan_rebalance(memory.view(), fleets, only_bounds=False)
    told = answer(plans, 250)
    told.SerializeToString()
    took = time.perf_counter() - began
    assert told.vms and len(told.fleets) == len(fleets)
    return took


def grown_cluster(fleets: int, hosts: int, new: int, vms: int) -> LeaderMemory:
    """Full as evenly as can be, but for the new hosts, which are empty."""
    memory = LeaderMemory.of_a_new_leader(
        "c1", 1, time.monotonic, True, LeaderSettings(), EventLog(time.time)
    )
    each = vms // fleets
    records = [
        FleetRecord(f"f{n}", f"00000000-0000-0000-0000-{n:012}", n, total=each)
        for n in range(fleets)
    ]
    writes = [put_fleet(fleet) for fleet in records]
    writes += [put_spec(fleet.uid, 1, spec()) for fleet in records]
    old = hosts - new
    for host in range(hosts):
        name = f"h{host:04}"
        labels = {"rack": f"r{host // _RACK}"}
        writes.append(put_host(HostRecord(name, "a:1", labels, Capacity(guests=250))))
        memory.links.add(Link(name, "a:1", 0.0, 5.0))
        if host < old:
            # Fleets differ in which hosts have one more.
            shards = (
                Shard(fleet.uid, _part(each, old, host, n * old // fleets), 1, 5)
                for n, fleet in enumerate(records)
            )
            writes.append(put_assignment(name, Assignment(tuple(shards))))
    memory.state.written(writes, 10)
    return memory


def _part(vms: int, hosts: int, host: int, shift: int) -> IndexSet:
    first, last = ((vms * number + shift) // hosts for number in (host, host + 1))
    return IndexSet.span(first, min(vms, last))
