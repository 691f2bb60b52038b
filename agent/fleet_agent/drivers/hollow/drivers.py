"""Storage and hypervisor that exist only in memory: runs of indices, never one object a VM.

They obey the ports to the letter, with the latencies and faults of a profile. What a slow step
has begun takes effect group by group, as its results are yielded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from fleet.identity import Fleet
from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.alarm import Alarm
from fleet_agent.core.images import ImageName, digest_differs
from fleet_agent.core.model import Batch, CloneRun, DomainRun, Phase, StepFailure, StepResult
from fleet_agent.core.plan.plan import StepKind
from fleet_agent.drivers.hollow.profile import INSTANT, Dice, Latency, Profile
from fleet_agent.drivers.ports.vms import HypervisorFacts, StorageFacts

# A slow batch is yielded in at most so many parts, of at least so many VMs.
GROUPS = 4
GROUP_VMS = 4

Sleep = Callable[[float], Awaitable[None]]
# Does one group: which of the indices are done, and what failed.
Act = Callable[[Batch, IndexSet], StepResult]


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


@dataclass(slots=True)
class Behaviour:
    """What the hollow drivers of one host share.

    A step has so many hands on the host, whoever calls: calls that come while they are busy
    queue behind one another.
    """

    profile: Profile
    dice: Dice
    sleep: Sleep = asyncio.sleep
    clock: Callable[[], float] = _loop_time
    _busy_until: dict[StepKind, float] = field(default_factory=dict)

    @classmethod
    def of(cls, profile: Profile = INSTANT, seed: int = 0, host: str = "hollow") -> Behaviour:
        return cls(profile, Dice(profile, seed, host))

    async def perform(self, kind: StepKind, batch: Batch, act: Act) -> AsyncIterator[StepResult]:
        """At once where the step takes no time; else in groups, each when the host has got to
        it."""
        latency = self.profile.latency.get(kind)
        if latency is None:
            yield self._attempt(kind, batch, batch.indices, act)
            return
        size = max(GROUP_VMS, -(-len(batch.indices) // GROUPS))
        groups = list(batch.indices.batches(size))
        for group, due in zip(groups, self._queue(kind, latency, groups), strict=True):
            await self.sleep(max(0.0, due - self.clock()))
            yield self._attempt(kind, batch, group, act)

    def _queue(self, kind: StepKind, latency: Latency, groups: list[IndexSet]) -> list[float]:
        """When each group will be done."""
        at = max(self.clock(), self._busy_until.get(kind, 0.0))
        due = []
        for group in groups:
            at += self.dice.seconds(kind, latency, group)
            due.append(at + latency.base)
        self._busy_until[kind] = at
        return due

    def _attempt(self, kind: StepKind, batch: Batch, indices: IndexSet, act: Act) -> StepResult:
        if not self.dice.has_faults(kind):
            return act(batch, indices)
        failures = []
        for index in indices:
            fault = self.dice.fault(kind, batch.kin.fleet_uid, index)
            if fault is not None:
                failures.append(
                    StepFailure(index, fault.kind, fault.message, retry=bool(fault.attempts))
                )
        lucky = indices - IndexSet.of(failure.index for failure in failures)
        result = act(batch, lucky) if lucky else StepResult(EMPTY)
        return StepResult(result.done, (*result.failures, *failures))


@dataclass(slots=True)
class Names:
    """What carries which name on this host: kins by the fleet's name."""

    by_name: dict[str, dict[Kin, IndexSet]] = field(default_factory=dict)

    def taken(self, batch: Batch, indices: IndexSet) -> IndexSet:
        """Those of the indices whose name another kin has."""
        kins = self.by_name.get(batch.fleet.name)
        if not kins or (len(kins) == 1 and batch.kin in kins):
            return EMPTY
        others = IndexSet.union_of(have for kin, have in kins.items() if kin != batch.kin)
        return others & indices

    def add(self, batch: Batch, indices: IndexSet) -> None:
        kins = self.by_name.setdefault(batch.fleet.name, {})
        have = kins.get(batch.kin)
        kins[batch.kin] = have | indices if have else indices

    def remove(self, batch: Batch, indices: IndexSet) -> None:
        kins = self.by_name.get(batch.fleet.name, {})
        rest = kins.get(batch.kin, EMPTY) - indices
        if rest:
            kins[batch.kin] = rest
        else:
            kins.pop(batch.kin, None)

    def all(self) -> dict[Kin, IndexSet]:
        return {kin: have for kins in self.by_name.values() for kin, have in kins.items()}


def _conflicts(batch: Batch, taken: IndexSet) -> tuple[StepFailure, ...]:
    return tuple(
        StepFailure(
            index,
            "conflict",
            f"{batch.fleet.domain_name(index)} exists and is not ours to touch",
            retry=False,
        )
        for index in taken
    )


def _failures(indices: IndexSet, kind: str, message: str) -> tuple[StepFailure, ...]:
    return tuple(StepFailure(index, kind, message, retry=False) for index in indices)


class HollowStorage:
    """Storage in memory."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._clones = Names()
        # Of the kins that have clones: the image they are of. Of imported images: the digest.
        self.golden: dict[Kin, ImageName] = {}
        self.digests: dict[ImageName, str] = {}

    @property
    def pool_bytes(self) -> int:
        return self._behaviour.profile.pool_bytes

    async def facts(self) -> StorageFacts:
        pool = self.pool_bytes
        return StorageFacts("hollow", pool, pool)

    async def listing(self) -> tuple[CloneRun, ...]:
        return tuple(CloneRun(kin, have) for kin, have in sorted(self._clones.all().items()))

    def clone(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._behaviour.perform(StepKind.CLONE, batch, self._clone)

    def destroy(self, batch: Batch) -> AsyncIterator[StepResult]:
        return self._behaviour.perform(StepKind.DESTROY, batch, self._destroy)

    def disk_path(self, fleet: Fleet, index: int) -> str:
        return f"/hollow/{fleet.dataset_name(index)}"

    async def close(self) -> None:
        """Nothing is held."""

    def _clone(self, batch: Batch, indices: IndexSet) -> StepResult:
        image = ImageName(batch.spec.image.name, batch.spec.image.snapshot)
        # Of an image that was never imported nobody knows the content: any digest will do.
        asked = batch.spec.image.digest
        if differs := digest_differs(image, asked, self.digests.get(image, asked)):
            return StepResult(EMPTY, _failures(indices, "image_mismatch", differs))
        taken = self._clones.taken(batch, indices)
        done = indices - taken
        self._clones.add(batch, done)
        self.golden[batch.kin] = image
        return StepResult(done, _conflicts(batch, taken))

    def _destroy(self, batch: Batch, indices: IndexSet) -> StepResult:
        self._clones.remove(batch, indices)
        if batch.kin not in self._clones.by_name.get(batch.fleet.name, {}):
            self.golden.pop(batch.kin, None)
        return StepResult(indices)


class HollowHypervisor:
    """Hypervisor in memory."""

    def __init__(self, behaviour: Behaviour, max_guests: int = 250) -> None:
        self._behaviour = behaviour
        self._max_guests = max_guests
        self._domains = Names()
        # Of those defined: which are active, and which of these are ready.
        self._active: dict[Kin, IndexSet] = {}
        self._ready: dict[Kin, IndexSet] = {}
        # Of those active: for which restart they were started, where that is above 0.
        self._restarts: dict[Kin, dict[int, IndexSet]] = {}
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
            for indices, phase in (
                (defined - active, Phase.DEFINED),
                (active - ready, Phase.ACTIVE),
                (ready, Phase.READY),
            ):
                for restart, part in self._by_restart(kin, indices):
                    runs.append(DomainRun(kin, part, phase, restart))
        return tuple(runs)

    def _by_restart(self, kin: Kin, indices: IndexSet) -> list[tuple[int, IndexSet]]:
        found = []
        for value, which in sorted(self._restarts.get(kin, {}).items()):
            if part := indices & which:
                found.append((value, part))
                indices = indices - part
        return [(0, indices), *found] if indices else found

    def define(
        self, batch: Batch, disk_path: Callable[[Fleet, int], str]
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

    def _define(self, batch: Batch, indices: IndexSet) -> StepResult:
        taken = self._domains.taken(batch, indices)
        done = indices - taken
        self._domains.add(batch, done)
        return StepResult(done, _conflicts(batch, taken))

    def _start(self, batch: Batch, indices: IndexSet) -> StepResult:
        done = indices & self._defined(batch)
        have = self._active.get(batch.kin)
        for value, which in batch.restarts:
            if begun := (done & which) - (have or EMPTY):
                values = self._restarts.setdefault(batch.kin, {})
                values[value] = values.get(value, EMPTY) | begun
        self._active[batch.kin] = have | done if have else done
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
