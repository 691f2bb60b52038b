"""What hosts say they have, whatever the store says: kept while changes are frozen.

Cost follows hosts and ranges: a host has a handful of kinds of VMs and states.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby

from fleet.identity import Fleet, checked_fleet_name
from fleet.keys import NO_EPOCH, NO_TERM, Epoch, Kin, Term
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import from_wire


@dataclass(slots=True)
class HostInventory:
    """One host, as of its newest report."""

    epoch: Epoch = NO_EPOCH
    term: Term = NO_TERM
    converged: bool = False
    states: dict[Kin, dict[int, IndexSet]] = field(default_factory=dict)
    orphans: dict[tuple[str, int], IndexSet] = field(default_factory=dict)  # by (fleet, birth)

    def having(self, kin: Kin, *states: int) -> IndexSet:
        """The VMs of the kin in any of these states."""
        mine = self.states.get(kin, {})
        return IndexSet.union_of(mine.get(state, EMPTY) for state in states)

    def take(self, report: wire.Report) -> None:
        """Raises ValueError for a report that makes no sense."""
        if report.full:
            self.states, self.orphans = {}, {}
            self.term = max(self.term, Term.of(report.term))
        self.epoch, self.converged = Epoch.of(report.epoch), report.converged
        for shard in report.shards:
            mine = self.states.setdefault(Kin.of(shard), {})
            for run in shard.runs:
                _overlay(mine, run)
        for gone in report.gone:
            self._forget(gone.fleet_uid, gone.birth, from_wire(gone.ranges))
        if report.full or report.orphans_set:
            self.orphans = {(o.fleet_uid, o.birth): from_wire(o.ranges) for o in report.orphans}

    def copy(self) -> HostInventory:
        states = {kin: dict(mine) for kin, mine in self.states.items()}
        return HostInventory(self.epoch, self.term, self.converged, states, dict(self.orphans))

    def _forget(self, fleet: str, birth: int, indices: IndexSet) -> None:
        for kin, mine in self.states.items():
            if (kin.fleet_uid, kin.birth) == (fleet, birth):
                for state in mine:
                    mine[state] = mine[state] - indices


class Inventory:
    """All hosts that were heard, and what their VMs were made from."""

    def __init__(self) -> None:
        self.hosts: dict[str, HostInventory] = {}
        self.fleets: dict[str, Fleet] = {}  # by uid
        self.specs: dict[tuple[str, int], types.FleetSpec] = {}

    def take(self, host: str, report: wire.Report) -> None:
        """Deltas without a full report before them say nothing by themselves. Raises ValueError
        for a report that makes no sense."""
        if report.full:
            self.hosts[host] = HostInventory()
        if host not in self.hosts:
            return
        self.hosts[host].take(report)
        for one in report.fleets:
            named = Fleet(one.uid, checked_fleet_name(one.name), one.number, one.site)
            self.fleets.setdefault(one.uid, named)
        for spec in report.specs:
            self.specs.setdefault((spec.fleet_uid, spec.generation), spec.spec)

    def copy(self) -> Inventory:
        """As it is now, for a decision made beside the reports that go on."""
        made = Inventory()
        made.hosts = {host: has.copy() for host, has in self.hosts.items()}
        made.fleets, made.specs = dict(self.fleets), dict(self.specs)
        return made


def _overlay(mine: dict[int, IndexSet], run: wire.StateRun) -> None:
    """The run's indices are now in the states it says, and in no other."""
    span = IndexSet.span(run.start, run.start + len(run.states))
    for state in mine:
        mine[state] = mine[state] - span
    at = run.start
    for state, same in groupby(run.states):
        stop = at + sum(1 for _ in same)
        mine[state] = mine.get(state, EMPTY) | IndexSet.span(at, stop)
        at = stop
