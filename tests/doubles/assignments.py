"""Assignments and snapshots as tests write them: "0-249" and a birth."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.identity import Fleet
from fleet.keys import Kin
from fleet.ranges import IndexSet, parse_ranges
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.core.assignment import Assignment, parse_assignment
from fleet_agent.core.model import CloneRun, DomainRun, Phase
from fleet_agent.core.plan.snapshot import Snapshot, snapshot_of

SPV = Fleet("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "spv", 1)
WEB = Fleet("6ba7b811-9dad-11d1-80b4-00c04fd430c8", "web", 2)
# The fleet deleted and made again: the same name, another uid.
SPV_AGAIN = Fleet("6ba7b812-9dad-11d1-80b4-00c04fd430c8", "spv", 3)


def kin(birth: int, generation: int = 1, fleet: Fleet = SPV) -> Kin:
    return Kin(fleet.uid, generation, birth)


def spec(parallel: int = 1000, per_second: float = 0.0, timeout: float = 60.0) -> types.FleetSpec:
    return types.FleetSpec(
        image=types.Image(name="golden", snapshot="1"),
        memory_bytes=128 << 20,
        vcpus=1,
        boot=types.Boot(kernel="/boot/unix", cmdline="name={name}"),
        disk=types.Disk(target="xvda"),
        readiness=types.Readiness(domain_active=True, timeout_seconds=timeout),
        admission=types.Admission(parallel=parallel, per_second=per_second),
    )


def _ranges(text: str) -> list[types.IndexRange]:
    return [types.IndexRange(start=a, stop=b) for a, b in parse_ranges(text).ranges]


def shard(
    ranges: str,
    birth: int,
    *,
    generation: int = 1,
    on: bool = True,
    fleet: Fleet = SPV,
    restart: int = 0,
    retry: int = 0,
) -> types.Shard:
    return types.Shard(
        fleet_uid=fleet.uid,
        ranges=_ranges(ranges),
        generation=generation,
        power=types.POWER_ON if on else types.POWER_OFF,
        birth=birth,
        restart=restart,
        retry=retry,
    )


def tombstone(id: int, ranges: str, born_until: int, fleet: Fleet = SPV) -> types.Tombstone:
    return types.Tombstone(
        id=id, fleet_uid=fleet.uid, ranges=_ranges(ranges), born_until=born_until
    )


def assignment(
    *shards: types.Shard,
    tombstones: Sequence[types.Tombstone] = (),
    template: types.FleetSpec | None = None,
    fleets: Sequence[Fleet] = (SPV, WEB, SPV_AGAIN),
) -> types.Assignment:
    generations = sorted({(one.fleet_uid, one.generation) for one in shards})
    return types.Assignment(
        fleets=[
            types.FleetIdentity(uid=fleet.uid, name=fleet.name, number=fleet.number)
            for fleet in fleets
        ],
        specs=[
            types.GenerationSpec(fleet_uid=uid, generation=number, spec=template or spec())
            for uid, number in generations
        ],
        shards=shards,
        tombstones=tombstones,
    )


def parsed(
    *shards: types.Shard,
    tombstones: Sequence[types.Tombstone] = (),
    past: Sequence[types.Tombstone] = (),
) -> Assignment:
    """`past`: tombstones of earlier assignments, acknowledged."""
    before = assignment(tombstones=past, fleets=(SPV, WEB, SPV_AGAIN) if past else ())
    return parse_assignment(assignment(*shards, tombstones=tombstones), before)


def assign_request(
    host: str, wanted: types.Assignment, revision: int, term: int = 1
) -> wire.AssignRequest:
    return wire.AssignRequest(
        term=types.Term(store_generation=1, revision=term),
        epoch=types.Epoch(store_generation=1, revision=revision),
        host_id=host,
        assignment=wanted,
    )


def clones(ranges: str, birth: int, generation: int = 1, fleet: Fleet = SPV) -> CloneRun:
    return CloneRun(kin(birth, generation, fleet), parse_ranges(ranges))


def domains(
    ranges: str,
    birth: int,
    phase: Phase,
    generation: int = 1,
    fleet: Fleet = SPV,
    restart: int = 0,
    why: str = "",
) -> DomainRun:
    which = kin(birth, generation, fleet)
    return DomainRun(which, parse_ranges(ranges), phase, restart, why=why)


def existing(*runs: CloneRun | DomainRun) -> Snapshot:
    return snapshot_of(
        [run for run in runs if isinstance(run, CloneRun)],
        [run for run in runs if isinstance(run, DomainRun)],
    )


def running(ranges: str, birth: int, fleet: Fleet = SPV) -> list[CloneRun | DomainRun]:
    """Clones and ready domains."""
    return [clones(ranges, birth, 1, fleet), domains(ranges, birth, Phase.READY, 1, fleet)]


def indices(text: str) -> IndexSet:
    return parse_ranges(text)
