"""What exists on the host with our mark, as the drivers list it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fleet.keys import NO_EPOCH, Epoch, Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import CloneRun, DomainRun, Phase, Restarts

# Why VMs do not go on, and which.
Stalled = tuple[tuple[str, IndexSet], ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What exists with our mark, by kin."""

    clones: Mapping[Kin, IndexSet]
    domains: Mapping[Kin, Mapping[Phase, IndexSet]]
    defined: Mapping[Kin, IndexSet]  # domains of any phase
    exists: Mapping[Kin, IndexSet]  # clones or domains
    # Of active domains: for which restarts they were started, where that is above 0.
    restarts: Mapping[Kin, Restarts] = field(default_factory=dict)
    newest: Epoch = NO_EPOCH  # the highest that any of it was made under
    # Of those halted or suspended: why, in words.
    stalled: Mapping[Kin, Stalled] = field(default_factory=dict)
    # By fleet: those begun in another way than it asks for, by why.
    fallbacks: Mapping[str, Mapping[str, IndexSet]] = field(default_factory=dict)

    def phase(self, kin: Kin, phase: Phase) -> IndexSet:
        return self.domains.get(kin, _NO_PHASES).get(phase, EMPTY)

    def active(self, kin: Kin) -> IndexSet:
        """Whatever it does."""
        phases = self.domains.get(kin, _NO_PHASES)
        return IndexSet.union_of(
            indices for phase, indices in phases.items() if phase is not Phase.DEFINED
        )

    def why_stalled(self, kin: Kin, index: int) -> str:
        return next((why for why, which in self.stalled.get(kin, ()) if index in which), "")


_NO_PHASES: Mapping[Phase, IndexSet] = {}


def snapshot_of(clones: Iterable[CloneRun], domains: Iterable[DomainRun]) -> Snapshot:
    """What the drivers list, by kin. Of domains without clones here nothing follows about the
    ledger: another agent on this machine, of another store, may have made them."""
    cloned: dict[Kin, IndexSet] = {}
    newest = NO_EPOCH
    for clone in clones:
        newest = max(newest, clone.newest)
        cloned[clone.kin] = cloned.get(clone.kin, EMPTY) | clone.indices
    phases: dict[Kin, dict[Phase, IndexSet]] = {}
    defined: dict[Kin, IndexSet] = {}
    restarts: dict[Kin, Restarts] = {}
    stalled: dict[Kin, Stalled] = {}
    fallbacks: dict[str, dict[str, IndexSet]] = {}
    for domain in domains:
        if domain.why:
            stalled[domain.kin] = (*stalled.get(domain.kin, ()), (domain.why, domain.indices))
        if domain.fallback:
            of_fleet = fallbacks.setdefault(domain.kin.fleet_uid, {})
            of_fleet[domain.fallback] = of_fleet.get(domain.fallback, EMPTY) | domain.indices
        if domain.kin in cloned:
            newest = max(newest, domain.newest)
        if domain.restart and domain.phase is not Phase.DEFINED:
            known = restarts.get(domain.kin, ())
            restarts[domain.kin] = (*known, (domain.restart, domain.indices))
        mine = phases.setdefault(domain.kin, {})
        mine[domain.phase] = mine.get(domain.phase, EMPTY) | domain.indices
        defined[domain.kin] = defined.get(domain.kin, EMPTY) | domain.indices
    exists = dict(cloned)
    for kin, indices in defined.items():
        exists[kin] = exists.get(kin, EMPTY) | indices
    return Snapshot(cloned, phases, defined, exists, restarts, newest, stalled, fallbacks)
