"""What hosts say they have, whatever the store says: what a recovery is decided from.

Cost follows hosts and ranges: a host has a handful of kinds of VMs and states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby

from fleet.identity import Fleet
from fleet.keys import NO_EPOCH, NO_TERM, Epoch, Kin, Term
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import from_wire


@dataclass(frozen=True, slots=True)
class Proof:
    """What of one report is proven by seals of the store. `assignment`: that of its epoch; None:
    not proven, or not in the report."""

    epoch: bool = False
    term: bool = False
    assignment: types.Assignment | None = None


NO_PROOF = Proof()


@dataclass(frozen=True, slots=True)
class HostInventory:
    """One host, as of its newest report. `told`: what leaders of this store had it have, by kin;
    None: it does not prove that it had anything."""

    epoch: Epoch = NO_EPOCH
    term: Term = NO_TERM
    proven: bool = False  # that it holds the assignment of `epoch`
    proven_term: bool = False
    told: Mapping[Kin, IndexSet] | None = None
    converged: bool = False
    states: Mapping[Kin, Mapping[int, IndexSet]] = field(default_factory=dict)
    orphans: Mapping[tuple[str, int], IndexSet] = field(default_factory=dict)  # by (fleet, birth)

    def having(self, kin: Kin, *states: int) -> IndexSet:
        """The VMs of the kin in any of these states."""
        mine = self.states.get(kin, {})
        return IndexSet.union_of(mine.get(state, EMPTY) for state in states)

    def after(self, report: wire.Report, proof: Proof = NO_PROOF) -> HostInventory:
        """The same with what the report says. Raises ValueError for a report that makes no
        sense."""
        states: dict[Kin, Mapping[int, IndexSet]] = {} if report.full else {**self.states}
        for shard in report.shards:
            kin = Kin.of(shard)
            states.setdefault(kin, {})
            for run in shard.runs:
                states[kin] = _overlaid(states[kin], run)
        for gone in report.gone:
            indices = from_wire(gone.ranges)
            for kin, mine in states.items():
                if (kin.fleet_uid, kin.birth) == (gone.fleet_uid, gone.birth):
                    states[kin] = {state: having - indices for state, having in mine.items()}
        orphans = self.orphans
        if report.full or report.orphans_set:
            orphans = {(o.fleet_uid, o.birth): from_wire(o.ranges) for o in report.orphans}
        term, proven_term = self.term, self.proven_term
        if report.full and Term.of(report.term) >= term:
            term, proven_term = Term.of(report.term), proof.term
        told = self.told
        if report.full:
            told = None if proof.assignment is None else _told(proof.assignment)
        return HostInventory(
            Epoch.of(report.epoch), term, proof.epoch, proven_term, told, report.converged,
            states, orphans,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Inventory:
    """All hosts that were heard, by id, and what their VMs were made from."""

    hosts: Mapping[str, HostInventory] = field(default_factory=dict)
    fleets: Mapping[str, Fleet] = field(default_factory=dict)  # by uid
    specs: Mapping[tuple[str, int], types.FleetSpec] = field(default_factory=dict)


def _told(assignment: types.Assignment) -> dict[Kin, IndexSet]:
    """Shards that differ in power alone are one kin."""
    found: dict[Kin, IndexSet] = {}
    for shard in assignment.shards:
        kin = Kin.of(shard)
        found[kin] = found.get(kin, EMPTY) | from_wire(shard.ranges)
    return found


def _overlaid(mine: Mapping[int, IndexSet], run: wire.StateRun) -> dict[int, IndexSet]:
    """The run's indices are in the states it says, and in no other."""
    span = IndexSet.span(run.start, run.start + len(run.states))
    found = {state: having - span for state, having in mine.items()}
    at = run.start
    for state, same in groupby(run.states):
        stop = at + sum(1 for _ in same)
        found[state] = found.get(state, EMPTY) | IndexSet.span(at, stop)
        at = stop
    return found
