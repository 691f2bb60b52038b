"""What agents report, in the leader's memory: states, problems, acknowledgements.

Nothing here is stored: a new leader has it again seconds after its links are up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np

from fleet.keys import Epoch, Kin
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.wire_ranges import from_wire
from fleet_controller.core.model import Assignment, ObservedFleet
from fleet_controller.core.shards import held_by
from fleet_controller.core.vm_states import DEFINED, FAILED, PENDING, RUNNING, UNKNOWN
from fleet_controller.observed.assignment_change import (
    assignment_change,
    by_kin,
    restarting,
)
from fleet_controller.observed.failures import LastingFailures, failed_for_good
from fleet_controller.observed.host_observation import HostObservation
from fleet_controller.observed.running import Running
from fleet_controller.observed.vectors import NO_HOST, FleetVector
from fleet_controller.pulse import Pulse

# Characters kept of why a host takes no orders.
LONGEST_REASON = 300


class Observed:
    """All hosts' reports. `pulse` beats with every change. `clock`: the leader's."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._clock = clock
        self.pulse = Pulse()
        # Each is told of hosts whose VMs may have another state, and emptied by whoever reads it.
        # While nobody does, nothing is kept.
        self.followers: list[set[str]] = []
        self.hosts: dict[str, HostObservation] = {}
        self.names: list[str] = []
        self.vectors: dict[str, FleetVector] = defaultdict(FleetVector)
        self.releasing: Counter[str] = Counter()
        self.users: Counter[str] = Counter()  # hosts that hold any VM, by fleet
        self.converged = 0  # hosts
        self.troubled: set[str] = set()  # hosts with problems
        self.orphaned: set[str] = set()
        self.refusing: set[str] = set()  # live hosts that take no orders
        # Hosts that prepare VMs which others still hold, by fleet.
        self.staging: dict[str, set[str]] = defaultdict(set)
        self.running = Running(self._held)
        # On hosts that have nothing else left to do: what another assigns is still to be tried.
        self.failing = LastingFailures()

    def host(self, host_id: str) -> HostObservation:
        """The observation of a host, made on first use."""
        found = self.hosts.get(host_id)
        if found is None:
            found = self.hosts[host_id] = HostObservation(len(self.names))
            self.names.append(host_id)
        return found

    def assigned(self, host_id: str, assignment: Assignment) -> None:
        """The host has another assignment. VMs that it gained are pending until it reports. A
        staged VM counts for the host that holds it; when none does, for the host that has it
        staged."""
        host = self.host(host_id)
        before, host.assignment = host.assignment, assignment
        host.strays = {}
        self._touch(host_id)
        host.restarting = restarting(host.restarting, before, assignment)
        change = assignment_change(before, assignment)
        self.running.assigned({shard.fleet for shard in (*before.shards, *assignment.shards)})
        for kin, freed in change.freed.items():
            self.vectors[kin.fleet_uid].clear(host.number, freed)
        for kin, gained in change.gained.items():
            self._gain(host, kin, gained, change.prepared.get(kin, EMPTY))
        self._set_power(host, before)
        self._stage(host_id, host, change.freed_fleets)
        self.users.subtract({shard.fleet for shard in before.shards})
        self.users.update({shard.fleet for shard in assignment.shards})
        host.released &= {tombstone.id for tombstone in assignment.tombstones}
        self._set_converged(host, False)
        self._count_failing(host_id, host)
        self._count_releasing(host)
        self.pulse.beat()

    def reported(self, host_id: str, report: wire.Report, epoch: int) -> bool:
        """Apply a report; whether it may change what placement decides. `epoch`: the
        revision of the host's assignment; a host that speaks of an older one has not converged.

        Raises ValueError for a report that makes no sense.
        """
        host = self.host(host_id)
        if report.full or report.shards:
            self._touch(host_id)
        if report.full:
            self._begin_anew(host)
        host.epoch = Epoch.of(report.epoch)
        self.running.reported(host_id, report)
        prepared = dict(host.prepared)
        for shard in report.shards:
            self._apply_states(host, shard)
        matters = self._apply_rest(host_id, host, report) or host.prepared != prepared
        self._set_converged(host, report.converged and host.epoch.revision >= epoch)
        if host.converged:
            host.restarting = {}
        self._count_failing(host_id, host)
        host.awaits_assign = report.awaits_assign
        matters = self._set_refusing(host_id, report.orders_refused[:LONGEST_REASON]) or matters
        if report.HasField("facts"):
            host.note_facts(report.facts)
        self.pulse.beat()
        return matters

    def count_again(self, host_id: str) -> None:
        """What the host holds counts for it, whoever else was assigned it meanwhile. Its states are
        not known until a full report."""
        host = self.host(host_id)
        self._touch(host_id)
        for shard in host.assignment.shards:
            if not shard.staged:
                vector = self.vectors[shard.fleet]
                lacking = shard.ranges - vector.held(host.number, shard.ranges)
                vector.place(host.number, lacking, shard.generation, UNKNOWN)
                if lacking and not shard.power:
                    vector.set_power(host.number, lacking, False)
        self.pulse.beat()

    def standing(self, uid: str, steady_seconds: float = 0.0) -> ObservedFleet:
        """What of a fleet runs, what has failed, and what has run for so long without a break
        while its host was heard."""
        vector, running = self.vectors[uid], self.vectors[uid].having(RUNNING)
        steady = running
        if steady_seconds:
            heard = [self.hosts[name].heard_since for name in self.names]
            steady = vector.running_since(self._clock() - steady_seconds, heard)
        told = (host.restarting.get(uid, EMPTY) for host in self.hosts.values())
        return ObservedFleet(
            running,
            vector.having(FAILED),
            vector.having(UNKNOWN) | (vector.having(PENDING) & self._not_told(uid)),
            IndexSet.union_of(told),
            steady,
        )

    def _not_told(self, uid: str) -> IndexSet:
        """Of hosts that are heard and know of no assignment: they say nothing of what they hold,
        as an agent whose ledger was lost, and it may run."""
        return IndexSet.union_of(
            shard.ranges
            for host in self.hosts.values()
            if host.seen and not host.epoch.revision
            for shard in host.assignment.shards
            if shard.fleet == uid and not shard.staged
        )

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
        self._touch(host_id)
        host.seen = False
        host.prepared = {}
        host.boot_id = ""
        self._set_refusing(host_id, "")
        self.running.forget(host_id)
        self._set_converged(host, False)
        self._count_failing(host_id, host)
        for shard in host.assignment.shards:
            self.vectors[shard.fleet].set_state(host.number, shard.ranges, UNKNOWN)
        self.pulse.beat()

    def removed(self, host_id: str) -> None:
        """The host is not known any more: its troubles do not count."""
        host = self.host(host_id)
        host.seen, host.problems, host.orphans, host.prepared = False, (), (), {}
        host.fallbacks = None
        self.running.forget(host_id)
        self._set_converged(host, False)
        self._count_failing(host_id, host)
        self._set_refusing(host_id, "")
        self.troubled.discard(host_id)
        self.orphaned.discard(host_id)

    def forget_fleet(self, uid: str) -> None:
        """The fleet is gone from the store."""
        self.vectors.pop(uid, None)
        self.releasing.pop(uid, None)
        self.users.pop(uid, None)
        self.staging.pop(uid, None)

    def _touch(self, host_id: str) -> None:
        for touched in self.followers:
            touched.add(host_id)

    def _held(self, host_id: str, uid: str) -> IndexSet:
        """What is staged is still another's."""
        host = self.hosts.get(host_id)
        shards = host.assignment.shards if host else ()
        return held_by((shard for shard in shards if not shard.staged), uid)

    def _gain(self, host: HostObservation, kin: Kin, gained: IndexSet, staged: IndexSet) -> None:
        """The host holds these VMs from now on. Those that it had staged, and that nobody else
        held, keep the state that they have."""
        vector = self.vectors[kin.fleet_uid]
        known = vector.held(host.number, gained & staged) if staged else EMPTY
        ready = host.prepared.get(kin, EMPTY) & gained
        now = self._clock()
        vector.place(host.number, gained - known - ready, kin.generation, host.unreported, now)
        vector.place(host.number, ready - known, kin.generation, DEFINED, now)

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
        """Note which fleets the host has staged VMs of. VMs that no host holds any more count
        for a host that has them staged. `freed`: fleets of which this host gave something up."""
        staged = by_kin(shard for shard in host.assignment.shards if shard.staged)
        prepared = {kin.fleet_uid for kin in (*host.prepared, *staged)}
        for fleet in prepared | freed & self.staging.keys():
            hosts = self.staging[fleet]
            mine = any(kin.fleet_uid == fleet for kin in staged)
            _keep(hosts, host_id, mine)
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
                now, rest = self._clock(), free - ready
                vector.place(host.number, ready, shard.generation, DEFINED, now)
                vector.place(host.number, rest, shard.generation, host.unreported, now)
                if not shard.power:
                    vector.set_power(host.number, free, False)

    def _begin_anew(self, host: HostObservation) -> None:
        host.begin_anew(self._clock())
        for shard in host.assignment.shards:
            self.vectors[shard.fleet].set_state(host.number, shard.ranges, PENDING)

    def _apply_states(self, host: HostObservation, report: wire.ShardReport) -> None:
        kin = Kin.of(report)
        mine = EMPTY  # shards that differ in power alone are reported on as one
        staged = EMPTY
        for shard in host.assignment.shards:
            if (shard.fleet, shard.generation, shard.birth) == kin:
                mine = mine | shard.ranges
                staged = staged | shard.ranges if shard.staged else staged
        if staged:
            host.note_prepared(kin, staged, report)
        if not mine:
            host.note_strays(kin, report)
            return
        vector, now = self.vectors[report.fleet_uid], self._clock()
        for run in report.runs:
            states = np.frombuffer(run.states, np.uint8)
            for start, stop in (mine & IndexSet.span(run.start, run.start + len(states))).ranges:
                part = states[start - run.start : stop - run.start].copy()
                vector.set_states(host.number, start, part, now)

    def _apply_rest(self, host_id: str, host: HostObservation, report: wire.Report) -> bool:
        matters = False
        if report.full or report.problems_set:
            host.problems = tuple(report.problems)
            _keep(self.troubled, host_id, bool(host.problems))
        if report.full or report.orphans_set:
            orphans = tuple((o.fleet_uid, o.birth, from_wire(o.ranges)) for o in report.orphans)
            matters = orphans != host.orphans
            host.orphans = orphans
            _keep(self.orphaned, host_id, bool(orphans))
        if report.full or report.fallbacks_set:
            host.note_fallbacks(report)
        if report.released or report.full:
            released = host.released | frozenset(report.released)
            matters = matters or released != host.released
            host.released = released
            self._count_releasing(host)
        return matters

    def _set_refusing(self, host_id: str, why: str) -> bool:
        """Whether that is news to placement."""
        before = host_id in self.refusing
        self.host(host_id).orders_refused = why
        _keep(self.refusing, host_id, bool(why))
        return before != bool(why)

    def _set_converged(self, host: HostObservation, converged: bool) -> None:
        self.converged += int(converged) - int(host.converged)
        host.converged = converged

    def _count_failing(self, host_id: str, host: HostObservation) -> None:
        shards = host.assignment.shards if host.converged else ()
        failed = failed_for_good(shards, host.problems, host.number, self.vectors)
        self.failing.set(host_id, failed)

    def _count_releasing(self, host: HostObservation) -> None:
        self.releasing.subtract(host.releasing)
        host.releasing = {}
        for tombstone in host.assignment.tombstones:
            if tombstone.id not in host.released and not host.lost:
                have = host.releasing.get(tombstone.fleet, 0)
                host.releasing[tombstone.fleet] = have + len(tombstone.ranges)
        self.releasing.update(host.releasing)


def _keep(members: set[str], one: str, belongs: bool) -> None:
    if belongs:
        members.add(one)
    else:
        members.discard(one)
