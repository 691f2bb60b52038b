"""Hosts' reports, sealed or not, and what a recovery is decided from."""

from __future__ import annotations

from typing import Any

from fleet.assignment_bytes import assignment_bytes
from fleet.keys import Epoch, Term
from fleet.ranges import EMPTY, IndexSet, parse_ranges
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import from_wire, to_wire
from fleet_controller.core.model import Assignment, FleetRecord, HostRecord, Meta, Shard
from fleet_controller.core.recovery.recovery import RecoveryPlan
from fleet_controller.core.recovery.seals import SealKey, Seals
from fleet_controller.core.recovery.view import RecoveryChoice, RecoveryView
from fleet_controller.leader.inventory import ReportedInventory

SPV = FleetRecord("spv", "uid-spv", 3, total=100)
SPEC = types.FleetSpec(memory_bytes=4 << 20, vcpus=1)

RUNNING, PENDING, DEFINED, STOPPING, UNKNOWN = (
    types.VM_STATE_RUNNING, types.VM_STATE_PENDING, types.VM_STATE_DEFINED, types.VM_STATE_STOPPING,
    types.VM_STATE_UNKNOWN,
)  # fmt: skip

ADOPT = RecoveryChoice(adopt=True)
SEALS = Seals(SealKey("5e" * 32))
OLD = Meta(cluster="old")
ROOM = 1000  # guests


def has(
    indices: str, birth: int, state: int = RUNNING, *, uid: str = "uid-spv", generation: int = 1
) -> wire.ShardReport:
    runs = [
        wire.StateRun(start=start, states=bytes([state] * (stop - start)))
        for start, stop in parse_ranges(indices).ranges
    ]
    return wire.ShardReport(fleet_uid=uid, generation=generation, birth=birth, runs=runs)


def orphan(indices: str, birth: int, uid: str = "uid-spv") -> wire.Orphans:
    ranges = [types.IndexRange(start=a, stop=b) for a, b in parse_ranges(indices).ranges]
    return wire.Orphans(fleet_uid=uid, birth=birth, ranges=ranges)


def report(*shards: wire.ShardReport, epoch: int = 600, **fields: Any) -> wire.Report:
    return wire.Report(
        full=True, epoch=types.Epoch(store_generation=1, revision=epoch), shards=shards, **fields
    )


def shard(indices: str, birth: int, **fields: Any) -> Shard:
    return Shard("uid-spv", parse_ranges(indices), 1, birth, **fields)


def sealed(host: str, one: wire.Report) -> wire.Report:
    """With what proves that the host was to have all that it has and that is no orphan."""
    found, data = wire.Report(), types.Assignment(fleets=one.fleets, specs=one.specs)
    found.CopyFrom(one)
    epoch = Epoch.of(one.epoch)
    orphans = {(o.fleet_uid, o.birth): from_wire(o.ranges) for o in one.orphans}
    for mine in one.shards:
        every = IndexSet((run.start, run.start + len(run.states)) for run in mine.runs)
        told = every - orphans.get((mine.fleet_uid, mine.birth), EMPTY)
        data.shards.add(
            fleet_uid=mine.fleet_uid, ranges=to_wire(told), generation=mine.generation,
            birth=mine.birth,
        )  # fmt: skip
    found.epoch.CopyFrom(SEALS.epoch(host, epoch))
    found.term.CopyFrom(SEALS.term(Term.of(one.term)))
    found.assignment = assignment_bytes(data)
    found.assignment_seal = SEALS.assignment(host, epoch, found.assignment)
    return found


def reported(reports: dict[str, wire.Report], lying: str = "") -> ReportedInventory:
    """What hosts prove; what these lying ones say alone."""
    inventory = ReportedInventory(lambda: SEALS)
    for host, one in reports.items():
        inventory.apply_report(host, one if host in lying.split() else sealed(host, one))
    return inventory


def view(
    reports: dict[str, wire.Report],
    stored: dict[str, Assignment] | None = None,
    *,
    fleets: tuple[FleetRecord, ...] = (SPV,),
    ahead: str = "",
    meta: Meta = OLD,
) -> RecoveryView:
    """Hosts are those that report or are stored; `ahead`: names of those that are, or all."""
    inventory = reported(reports)
    stored = stored or {}
    names = sorted({*reports, *stored})
    return RecoveryView(
        revision=500,
        cluster="new",
        meta=meta,
        hosts={name: HostRecord(name, f"{name}:1") for name in names},
        assignments=stored,
        fleets={fleet.name: fleet for fleet in fleets},
        specs={(fleet.uid, 1): SPEC for fleet in fleets},
        inventory=inventory.snapshot(),
        ahead=frozenset(ahead.split() if ahead else reports),
        guests=dict.fromkeys(names, ROOM),
    )


def shards(plan: RecoveryPlan, host: str) -> list[tuple[str, int, bool]]:
    return [(str(s.ranges), s.birth, s.power) for s in plan.assignments[host].shards]


def stones(plan: RecoveryPlan, host: str) -> list[tuple[str, int]]:
    return [(str(t.ranges), t.born_until) for t in plan.assignments[host].tombstones]
