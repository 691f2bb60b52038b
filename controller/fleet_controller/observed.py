"""What agents report, in the leader's memory: states, problems, acknowledgements.

Nothing here is stored: a new leader has it again seconds after its links are up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Assignment, Shard
from fleet_controller.pulse import Pulse
from fleet_controller.vectors import PENDING, UNKNOWN, FleetVector

NOTHING = Assignment()


@dataclass(slots=True)
class HostObservation:
    """One host. `epoch` is (store generation, revision) of the assignment it reported on."""

    number: int
    assignment: Assignment = NOTHING
    seen: bool = False  # its states are known: a full report came on the present link
    epoch: tuple[int, int] = (0, 0)
    converged: bool = False
    awaits_assign: bool = False
    problems: tuple[wire.Problem, ...] = ()
    orphans: tuple[tuple[str, int, IndexSet], ...] = ()
    released: frozenset[int] = frozenset()
    releasing: dict[str, int] = field(default_factory=dict)
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

    def host(self, host_id: str) -> HostObservation:
        """The observation of a host, made on first use."""
        found = self.hosts.get(host_id)
        if found is None:
            found = self.hosts[host_id] = HostObservation(len(self.names))
            self.names.append(host_id)
        return found

    def assigned(self, host_id: str, assignment: Assignment) -> None:
        """The host's assignment is another: what it gained is pending until it reports."""
        host = self.host(host_id)
        old, new = _by_kin(host.assignment), _by_kin(assignment)
        for (fleet, birth, generation), ranges in old.items():
            gone = ranges - new.get((fleet, birth, generation), EMPTY)
            if gone:
                self.vectors[fleet].clear(host.number, gone)
        state = PENDING if host.seen else UNKNOWN
        for (fleet, birth, generation), ranges in new.items():
            gained = ranges - old.get((fleet, birth, generation), EMPTY)
            if gained:
                self.vectors[fleet].place(host.number, gained, generation, state)
        self.users.subtract({shard.fleet for shard in host.assignment.shards})
        self.users.update({shard.fleet for shard in assignment.shards})
        host.assignment = assignment
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
        host.epoch = (report.epoch.store_generation, report.epoch.revision)
        for shard in report.shards:
            self._take_states(host, shard)
        matters = self._take_rest(host_id, host, report)
        self._set_converged(host, report.converged and host.epoch[1] >= epoch)
        host.awaits_assign = report.awaits_assign
        if report.HasField("facts"):
            host.boot_id = report.facts.boot_id
        self.pulse.beat()
        return matters

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
        host.boot_id = ""
        self._set_converged(host, False)
        for shard in host.assignment.shards:
            self.vectors[shard.fleet].set_state(host.number, shard.ranges, UNKNOWN)
        self.pulse.beat()

    def forget_fleet(self, uid: str) -> None:
        """The fleet is gone from the store."""
        self.vectors.pop(uid, None)
        self.releasing.pop(uid, None)
        self.users.pop(uid, None)

    def _begin_anew(self, host: HostObservation) -> None:
        host.seen = True
        host.released = frozenset()
        for shard in host.assignment.shards:
            self.vectors[shard.fleet].set_state(host.number, shard.ranges, PENDING)

    def _take_states(self, host: HostObservation, report: wire.ShardReport) -> None:
        mine = EMPTY  # shards that differ in power alone are reported on as one
        for shard in host.assignment.shards:
            if (
                shard.fleet == report.fleet_uid
                and shard.birth == report.birth
                and shard.generation == report.generation
            ):
                mine = mine | shard.ranges
        if not mine:
            return
        vector = self.vectors[report.fleet_uid]
        for run in report.runs:
            states = np.frombuffer(run.states, np.uint8)
            for start, stop in (mine & IndexSet.span(run.start, run.start + len(states))).ranges:
                vector.set_states(
                    host.number, start, states[start - run.start : stop - run.start].copy()
                )

    def _take_rest(self, host_id: str, host: HostObservation, report: wire.Report) -> bool:
        matters = False
        if report.full or report.problems_set:
            host.problems = tuple(report.problems)
            (self.troubled.add if host.problems else self.troubled.discard)(host_id)
        if report.full or report.orphans_set:
            orphans = tuple((o.fleet_uid, o.birth, ranges_of(o.ranges)) for o in report.orphans)
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


def ranges_of(ranges: Iterable[types.IndexRange]) -> IndexSet:
    """From repeated fleet.v1.IndexRange."""
    return IndexSet((r.start, r.stop) for r in ranges)


def wire_ranges(indices: IndexSet) -> list[types.IndexRange]:
    """To repeated fleet.v1.IndexRange."""
    return [types.IndexRange(start=start, stop=stop) for start, stop in indices.ranges]


def _by_kin(assignment: Assignment) -> dict[tuple[str, int, int], IndexSet]:
    return {(s.fleet, s.birth, s.generation): s.ranges for s in _distinct(assignment.shards)}


def _distinct(shards: tuple[Shard, ...]) -> tuple[Shard, ...]:
    """Shards with equal fleet, birth and generation but other power, as one."""
    merged: dict[tuple[str, int, int], Shard] = {}
    for shard in shards:
        key = (shard.fleet, shard.birth, shard.generation)
        have = merged.get(key)
        ranges = have.ranges | shard.ranges if have else shard.ranges
        merged[key] = Shard(shard.fleet, ranges, shard.generation, shard.birth, shard.power)
    return tuple(merged.values())
