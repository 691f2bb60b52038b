"""What agents report, in the leader's memory: states, problems, acknowledgements.

Nothing here is stored: a new leader has it again seconds after its links are up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from fleet.keys import NO_EPOCH, Epoch, Kin
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.wire_ranges import from_wire
from fleet_controller.core.model import Assignment, ObservedFleet, Shard
from fleet_controller.observed.vectors import (
    DEFINED,
    FAILED,
    NO_HOST,
    PENDING,
    RUNNING,
    UNKNOWN,
    FleetVector,
    stretches,
)
from fleet_controller.pulse import Pulse

NOTHING = Assignment()


@dataclass(slots=True)
class HostObservation:
    """One host. `epoch`: of the assignment it reported on."""

    number: int
    assignment: Assignment = NOTHING
    seen: bool = False  # its states are known: a full report came on the present link
    epoch: Epoch = NO_EPOCH
    converged: bool = False
    awaits_assign: bool = False
    problems: tuple[wire.Problem, ...] = ()
    orphans: tuple[tuple[str, int, IndexSet], ...] = ()
    released: frozenset[int] = frozenset()
    releasing: dict[str, int] = field(default_factory=dict)
    # Staged VMs that it has cloned and defined.
    prepared: dict[Kin, IndexSet] = field(default_factory=dict)
    boot_id: str = ""  # of the dom0, while it is linked
    lost: bool = False  # declared: nobody waits for what it has to release


class Observed:
    """All hosts' reports. `pulse` beats with every change."""

    def __init__(self) -> None:
        self.pulse = Pulse()
        self.hosts: dict[str, HostObservation] = {}
        self.names: list[str] = []
        self.vectors: dict[str, FleetVector] = defaultdict(FleetVector)
        self.releasing: Counter[str] = Counter()
        self.users: Counter[str] = Counter()  # hosts that hold any VM, by fleet
        self.converged = 0  # hosts
        self.troubled: set[str] = set()  # hosts with problems
        self.orphaned: set[str] = set()
        # Hosts that prepare VMs which others still hold, by fleet.
        self.staging: dict[str, set[str]] = defaultdict(set)

    def host(self, host_id: str) -> HostObservation:
        """The observation of a host, made on first use."""
        found = self.hosts.get(host_id)
        if found is None:
            found = self.hosts[host_id] = HostObservation(len(self.names))
            self.names.append(host_id)
        return found

    def assigned(self, host_id: str, assignment: Assignment) -> None:
        """The host's assignment is another: what it gained is pending until it reports.

        What is only staged there belongs to whoever holds it still, and to the host once nobody
        does.
        """
        host = self.host(host_id)
        before = host.assignment
        old, new = _by_kin(before.shards), _by_kin(assignment.shards)
        freed = set()
        for kin, ranges in old.items():
            gone = ranges - new.get(kin, EMPTY)
            if gone:
                self.vectors[kin.fleet_uid].clear(host.number, gone)
                freed.add(kin.fleet_uid)
        state = PENDING if host.seen else UNKNOWN
        held = _by_kin(shard for shard in before.shards if not shard.staged)
        staged = _by_kin(shard for shard in before.shards if shard.staged)
        for kin, ranges in _by_kin(s for s in assignment.shards if not s.staged).items():
            gained = ranges - held.get(kin, EMPTY)
            if gained:
                self._gain(host, kin, gained, staged.get(kin, EMPTY), state)
        host.assignment = assignment
        self._set_power(host, before)
        self._stage(host_id, host, freed)
        self.users.subtract({shard.fleet for shard in before.shards})
        self.users.update({shard.fleet for shard in assignment.shards})
        host.released &= {tombstone.id for tombstone in assignment.tombstones}
        self._set_converged(host, False)
        self._count_releasing(host)
        self.pulse.beat()

    def reported(self, host_id: str, report: wire.Report, epoch: int) -> bool:
        """Take a report over; whether it may change what placement decides. `epoch`: the
        revision of the host's assignment; a host that speaks of an older one has not converged.

        Raises ValueError for a report that makes no sense.
        """
        host = self.host(host_id)
        if report.full:
            self._begin_anew(host)
        host.epoch = Epoch.of(report.epoch)
        prepared = dict(host.prepared)
        for shard in report.shards:
            self._take_states(host, shard)
        matters = self._take_rest(host_id, host, report) or host.prepared != prepared
        self._set_converged(host, report.converged and host.epoch.revision >= epoch)
        host.awaits_assign = report.awaits_assign
        if report.HasField("facts"):
            host.boot_id = report.facts.boot_id
        self.pulse.beat()
        return matters

    def standing(self, uid: str) -> ObservedFleet:
        """What of a fleet runs and what has failed."""
        vector = self.vectors[uid]
        return ObservedFleet(vector.having(RUNNING), vector.having(FAILED))

    def declared_lost(self, host_id: str, lost: bool) -> None:
        """Whether the verdict stands that the host is lost."""
        host = self.host(host_id)
        if host.lost != lost:
            host.lost = lost
            self._count_releasing(host)
            self.pulse.beat()

    def lost_sight(self, host_id: str) -> None:
        """The link is gone: what its VMs do is not known until it reports again."""
        host = self.host(host_id)
        host.seen = False
        host.prepared = {}
        host.boot_id = ""
        self._set_converged(host, False)
        for shard in host.assignment.shards:
            self.vectors[shard.fleet].set_state(host.number, shard.ranges, UNKNOWN)
        self.pulse.beat()

    def removed(self, host_id: str) -> None:
        """The host is known no more: its troubles are nobody's."""
        host = self.host(host_id)
        host.seen, host.problems, host.orphans, host.prepared = False, (), (), {}
        self._set_converged(host, False)
        self.troubled.discard(host_id)
        self.orphaned.discard(host_id)

    def forget_fleet(self, uid: str) -> None:
        """The fleet is gone from the store."""
        self.vectors.pop(uid, None)
        self.releasing.pop(uid, None)
        self.users.pop(uid, None)
        self.staging.pop(uid, None)

    def _gain(
        self, host: HostObservation, kin: Kin, gained: IndexSet, staged: IndexSet, state: int
    ) -> None:
        """The host holds these from now on; what it had staged of them is where it was."""
        vector = self.vectors[kin.fleet_uid]
        known = vector.held(host.number, gained & staged) if staged else EMPTY
        ready = host.prepared.get(kin, EMPTY) & gained
        vector.place(host.number, gained - known - ready, kin.generation, state)
        vector.place(host.number, ready - known, kin.generation, DEFINED)

    def _set_power(self, host: HostObservation, before: Assignment) -> None:
        """Shards that differ in power alone are one kin; which of it is off is kept apart."""
        shards = host.assignment.shards
        if all(shard.power for shard in (*shards, *before.shards)):
            return
        for fleet in {shard.fleet for shard in shards}:
            for on in (True, False):
                mine = (s.ranges for s in shards if s.fleet == fleet and s.power is on)
                self.vectors[fleet].set_power(host.number, IndexSet.union_of(mine), on)

    def _stage(self, host_id: str, host: HostObservation, freed: set[str]) -> None:
        """Note what the host has staged, and give what nobody holds to those who have it
        staged. `freed`: fleets of which the host has let something go."""
        staged = _by_kin(shard for shard in host.assignment.shards if shard.staged)
        for fleet in {
            kin.fleet_uid for kin in (*host.prepared, *staged)
        } | freed & self.staging.keys():
            hosts = self.staging[fleet]
            mine = any(kin.fleet_uid == fleet for kin in staged)
            (hosts.add if mine else hosts.discard)(host_id)
            for other in hosts:
                self._inherit(self.host(other), fleet)
        kept = {kin: have & staged.get(kin, EMPTY) for kin, have in host.prepared.items()}
        host.prepared = {kin: have for kin, have in kept.items() if have}

    def _inherit(self, host: HostObservation, fleet: str) -> None:
        vector = self.vectors[fleet]
        for shard in host.assignment.shards:
            if shard.staged and shard.fleet == fleet:
                free = vector.held(NO_HOST, shard.ranges)
                ready = host.prepared.get(shard.kin, EMPTY) & free
                vector.place(host.number, ready, shard.generation, DEFINED)
                state = PENDING if host.seen else UNKNOWN
                vector.place(host.number, free - ready, shard.generation, state)
                if not shard.power:
                    vector.set_power(host.number, free, False)

    def _begin_anew(self, host: HostObservation) -> None:
        host.seen = True
        host.released = frozenset()
        host.prepared = {}
        for shard in host.assignment.shards:
            self.vectors[shard.fleet].set_state(host.number, shard.ranges, PENDING)

    def _take_states(self, host: HostObservation, report: wire.ShardReport) -> None:
        kin = Kin.of(report)
        mine = EMPTY  # shards that differ in power alone are reported on as one
        staged = EMPTY
        for shard in host.assignment.shards:
            if (shard.fleet, shard.generation, shard.birth) == kin:
                mine = mine | shard.ranges
                staged = staged | shard.ranges if shard.staged else staged
        if staged:
            self._take_prepared(host, kin, staged, report)
        if not mine:
            return
        vector = self.vectors[report.fleet_uid]
        for run in report.runs:
            states = np.frombuffer(run.states, np.uint8)
            for start, stop in (mine & IndexSet.span(run.start, run.start + len(states))).ranges:
                vector.set_states(
                    host.number, start, states[start - run.start : stop - run.start].copy()
                )

    def _take_prepared(
        self, host: HostObservation, kin: Kin, staged: IndexSet, report: wire.ShardReport
    ) -> None:
        """A staged VM is prepared once its host says that it is defined."""
        told, ready = [], []
        for run in report.runs:
            states = np.frombuffer(run.states, np.uint8)
            told.append((run.start, run.start + len(states)))
            ready += stretches(states == DEFINED, run.start)
        have = host.prepared.get(kin, EMPTY) - IndexSet(told)
        have = have | (IndexSet(ready) & staged)
        if have:
            host.prepared[kin] = have
        else:
            host.prepared.pop(kin, None)

    def _take_rest(self, host_id: str, host: HostObservation, report: wire.Report) -> bool:
        matters = False
        if report.full or report.problems_set:
            host.problems = tuple(report.problems)
            (self.troubled.add if host.problems else self.troubled.discard)(host_id)
        if report.full or report.orphans_set:
            orphans = tuple((o.fleet_uid, o.birth, from_wire(o.ranges)) for o in report.orphans)
            matters = orphans != host.orphans
            host.orphans = orphans
            (self.orphaned.add if orphans else self.orphaned.discard)(host_id)
        if report.released or report.full:
            released = host.released | frozenset(report.released)
            matters = matters or released != host.released
            host.released = released
            self._count_releasing(host)
        return matters

    def _set_converged(self, host: HostObservation, converged: bool) -> None:
        self.converged += int(converged) - int(host.converged)
        host.converged = converged

    def _count_releasing(self, host: HostObservation) -> None:
        self.releasing.subtract(host.releasing)
        host.releasing = {}
        for tombstone in host.assignment.tombstones:
            if tombstone.id not in host.released and not host.lost:
                have = host.releasing.get(tombstone.fleet, 0)
                host.releasing[tombstone.fleet] = have + len(tombstone.ranges)
        self.releasing.update(host.releasing)


def _by_kin(shards: Iterable[Shard]) -> dict[Kin, IndexSet]:
    """Shards with equal fleet, birth and generation as one, whatever else differs."""
    merged: dict[Kin, IndexSet] = {}
    for shard in shards:
        kin = shard.kin
        have = merged.get(kin)
        merged[kin] = have | shard.ranges if have else shard.ranges
    return merged
