"""A hypervisor that exists only in memory; obeys the port to the letter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from fleet.identity import Fleet
from fleet.keys import NO_EPOCH, Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.alarm import Alarm
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.model import Batch, DomainRun, Phase, StepFailure, StepKind, StepResult
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.kins import KinsByName, conflicts
from fleet_agent.drivers.ports.hypervisor import HypervisorFacts


class HollowHypervisor:
    """Hypervisor in memory."""

    def __init__(self, behaviour: Behaviour, max_guests: int = 250) -> None:
        self._behaviour = behaviour
        self._max_guests = max_guests
        self._domains = KinsByName()
        # Of those defined: which are active, and which of these are ready.
        self._active: dict[Kin, IndexSet] = {}
        self._ready: dict[Kin, IndexSet] = {}
        # Of those active: for which restart they were started, where that is above 0.
        self._restarts: dict[Kin, dict[int, IndexSet]] = {}
        # Of those active: what keeps them from running, and whether as halted or as suspended.
        self._stalled: dict[Kin, dict[tuple[Phase, str], IndexSet]] = {}
        self._changed = Alarm()
        # Told of every start and end: consoles that somebody follows.
        self.on_lives: Callable[[], None] | None = None

    async def facts(self) -> HypervisorFacts:
        return HypervisorFacts("hollow", self._behaviour.profile.memory_bytes, self._max_guests)

    async def listing(self) -> tuple[DomainRun, ...]:
        runs = []
        for kin, defined in sorted(self._domains.all().items()):
            active = self._active.get(kin, EMPTY)
            ready = self._ready.get(kin, EMPTY)
            newest = self._domains.newest.get(kin, NO_EPOCH)
            stalled = self._stalled.get(kin, {})
            still = IndexSet.union_of(stalled.values())
            for indices, phase, why in (
                (defined - active, Phase.DEFINED, ""),
                (active - ready - still, Phase.ACTIVE, ""),
                (ready - still, Phase.READY, ""),
                *((which, phase, why) for (phase, why), which in sorted(stalled.items())),
            ):
                for restart, part in self._by_restart(kin, indices):
                    runs.append(DomainRun(kin, part, phase, restart, newest, why))
        return tuple(runs)

    def _by_restart(self, kin: Kin, indices: IndexSet) -> list[tuple[int, IndexSet]]:
        found = []
        for value, which in sorted(self._restarts.get(kin, {}).items()):
            if part := indices & which:
                found.append((value, part))
                indices = indices - part
        return [(0, indices), *found] if indices else found

    def define(
        self, batch: Batch, disk_of: Callable[[Batch, int], Disk]
    ) -> AsyncIterator[StepResult]:
        return self._behaviour.perform(StepKind.DEFINE, batch, self._define)

    def start(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._behaviour.perform(StepKind.START, batch, self._start)

    def await_ready(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._behaviour.perform(StepKind.AWAIT_READY, batch, self._await_ready)

    def stop(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._behaviour.perform(StepKind.STOP, batch, self._stop)

    def undefine(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._behaviour.perform(StepKind.UNDEFINE, batch, self._undefine)

    async def changes(self) -> AsyncIterator[None]:
        while True:
            await self._changed.sleep(None)
            yield

    async def close(self) -> None:
        """Nothing is held."""

    def find(self, fleet_uid: str, index: int) -> tuple[str, bool] | None:
        """The name of a VM that is defined here, and whether it is active."""
        for fleet, kins in self._domains.by_name.items():
            for kin, have in kins.items():
                if kin.fleet_uid == fleet_uid and index in have:
                    active = index in self._active.get(kin, EMPTY)
                    return Fleet(fleet_uid, fleet, 0).domain_name(index), active
        return None

    def guests(self, fleet_uid: str) -> tuple[str, IndexSet, IndexSet]:
        """Of a fleet: its name, which of its VMs are active here, and which are defined."""
        for fleet, kins in self._domains.by_name.items():
            mine = [kin for kin in kins if kin.fleet_uid == fleet_uid]
            if mine:
                active = IndexSet.union_of(self._active.get(kin, EMPTY) for kin in mine)
                return fleet, active, IndexSet.union_of(kins[kin] for kin in mine)
        return "", EMPTY, EMPTY

    def fleet_names(self) -> dict[str, str]:
        """The names of the fleets that have VMs here, by uid."""
        return {
            kin.fleet_uid: fleet for fleet, kins in self._domains.by_name.items() for kin in kins
        }

    def lose(self, fleet_uid: str, indices: IndexSet) -> None:
        """Domains end behind the agent's back."""
        for kin in [kin for kin in self._active if kin.fleet_uid == fleet_uid]:
            self._deactivate(kin, indices)
        self._changed.ring()

    def stall(self, fleet_uid: str, indices: IndexSet, phase: Phase, why: str) -> None:
        """Active domains are halted, or suspended, behind the agent's back."""
        for kin in [kin for kin in self._active if kin.fleet_uid == fleet_uid]:
            if part := self._active[kin] & indices:
                self._go_on(kin, part)
                self._stalled.setdefault(kin, {})[phase, why] = part
        self._changed.ring()

    def go_on(self, fleet_uid: str, indices: IndexSet) -> None:
        """They run again behind the agent's back."""
        for kin in [kin for kin in self._stalled if kin.fleet_uid == fleet_uid]:
            self._go_on(kin, indices)
        self._changed.ring()

    def _go_on(self, kin: Kin, indices: IndexSet, *phases: Phase) -> None:
        """Of any phase where none is given."""
        for phase, why in list(self._stalled.get(kin, {})):
            if not phases or phase in phases:
                rest = self._stalled[kin][phase, why] - indices
                if rest:
                    self._stalled[kin][phase, why] = rest
                else:
                    del self._stalled[kin][phase, why]

    def _define(self, batch: Batch, indices: IndexSet) -> StepResult:
        taken = self._domains.taken(batch, indices)
        done = indices - taken
        self._domains.add(batch, done)
        return StepResult(done, conflicts(batch, taken))

    def _start(self, batch: Batch, indices: IndexSet) -> StepResult:
        done = indices & self._defined(batch)
        have = self._active.get(batch.kin)
        for value, which in batch.restarts:
            if begun := (done & which) - (have or EMPTY):
                values = self._restarts.setdefault(batch.kin, {})
                values[value] = values.get(value, EMPTY) | begun
        self._active[batch.kin] = have | done if have else done
        self._go_on(batch.kin, done, Phase.HALTED)
        self._tell_lives()
        return _split(indices, done, "not_defined", "is not defined", retry=True)

    def _await_ready(self, batch: Batch, indices: IndexSet) -> StepResult:
        done = indices & self._active.get(batch.kin, EMPTY)
        have = self._ready.get(batch.kin)
        self._ready[batch.kin] = have | done if have else done
        return _split(indices, done, "died", "is not active any more", retry=True)

    def _stop(self, batch: Batch, indices: IndexSet) -> StepResult:
        self._deactivate(batch.kin, indices)
        return StepResult(indices)

    def _undefine(self, batch: Batch, indices: IndexSet) -> StepResult:
        self._deactivate(batch.kin, indices)
        self._domains.remove(batch, indices)
        return StepResult(indices)

    def _defined(self, batch: Batch) -> IndexSet:
        return self._domains.by_name.get(batch.fleet.name, {}).get(batch.kin, EMPTY)

    def _deactivate(self, kin: Kin, indices: IndexSet) -> None:
        self._go_on(kin, indices)
        for phase in (self._active, self._ready):
            rest = phase.get(kin, EMPTY) - indices
            if rest:
                phase[kin] = rest
            else:
                phase.pop(kin, None)
        for value, which in list(self._restarts.get(kin, {}).items()):
            if rest := which - indices:
                self._restarts[kin][value] = rest
            else:
                del self._restarts[kin][value]
        self._tell_lives()

    def _tell_lives(self) -> None:
        if self.on_lives is not None:
            self.on_lives()


def _split(
    indices: IndexSet, done: IndexSet, kind: str, message: str, *, retry: bool
) -> StepResult:
    missing = indices - done
    return StepResult(
        done,
        tuple(StepFailure(index, kind, f"index {index} {message}", retry) for index in missing),
    )
