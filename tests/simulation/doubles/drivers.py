"""Hollow drivers of one simulated machine: acts take time, fail, hang, lie, and outlive whoever
asked for them.

An act that has begun is done by the machine: it ends though the agent that asked for it is
killed or has given up, and whatever else is asked of the same VMs waits for it, as libvirt and
ZFS do. Every act is told to a witness with the orders in whose name it is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from random import Random

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import Batch, CloneRun, DomainRun, StepFailure, StepKind, StepResult
from fleet_agent.drivers.hollow.behaviour import Act, Behaviour
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.hollow.profile import Latency, Profile
from fleet_agent.drivers.hollow.storage import HollowStorage
from fleet_agent.drivers.ports.errors import DriverError
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.clockwork import PROCESS, Clockwork, Process

# A small good host: what a test's world waits for is mostly this.
QUICK = Profile(
    latency={
        StepKind.CLONE: Latency(base=0.05, per_vm=0.02, spread=0.2),
        StepKind.DEFINE: Latency(base=0.02, per_vm=0.01, spread=0.2),
        StepKind.START: Latency(base=0.05, per_vm=0.05, spread=0.2),
        StepKind.AWAIT_READY: Latency(base=0.5, per_vm=0.01, spread=0.2),
        StepKind.STOP: Latency(base=0.05, per_vm=0.02, spread=0.2),
        StepKind.UNDEFINE: Latency(base=0.05, per_vm=0.05, spread=0.2),
        StepKind.DESTROY: Latency(base=0.02, per_vm=0.02, spread=0.2),
    }
)
HANG_SECONDS = 10_000.0  # longer than any deadline


@dataclass(frozen=True, slots=True)
class Mood:
    """Shares of VMs, for each step asked of the machine's drivers.

    `lie_failed`: done and called failed. `lie_done`: called done and not done. `slow`: how many
    times longer everything takes. `broken`: the drivers as a whole do not work.
    """

    fail: float = 0.0
    hang: float = 0.0  # of batches
    lie_failed: float = 0.0
    lie_done: float = 0.0
    slow: float = 1.0
    full: bool = False
    broken: bool = False


WELL = Mood()


class SimBehaviour(Behaviour):
    """Time and faults of one machine's drivers."""

    def __init__(self, loop: Clockwork, host: str, witness: Witness, seed: str) -> None:
        made = Behaviour.of(QUICK, 0, host)
        super().__init__(made.profile, made.dice, clock=lambda: loop.now)
        self.loop = loop
        self.host = host
        self.witness = witness
        self.random = Random(f"{seed}/{host}/drivers")
        self._mood = WELL
        self._well_since = loop.now
        self.boot = 0
        self._hanging: list[Process | None] = []  # whose calls do not come back
        self._ends: dict[tuple[str, int], float] = {}  # when what is begun on a VM will have ended

    async def perform(self, kind: StepKind, batch: Batch, act: Act) -> AsyncIterator[StepResult]:
        """As hollow drivers do; but each group is the machine's own work once begun."""
        self.witness.step_asked(self.host, kind, batch)
        latency = self.profile.latency[kind]
        for group in batch.indices.batches(max(4, -(-len(batch.indices) // 2))):
            if self.mood is not WELL:
                await self._suffer()
            (due,) = self._queue(kind, latency, [group])
            due = max(self._free_at(batch, group), self.loop.now + self._slowed(due))
            done: asyncio.Future[StepResult] = self.loop.create_future()
            process = PROCESS.get()
            self._begin(batch, group, due)
            self.loop.at(due, self._land, kind, batch, group, act, done, process, self.boot)
            yield await done

    def reboot(self) -> None:
        """What was under way is not any more."""
        self.boot += 1
        self._ends.clear()
        self._busy_until.clear()

    @property
    def mood(self) -> Mood:
        return self._mood

    @mood.setter
    def mood(self, mood: Mood) -> None:
        if mood is not self._mood:
            self._mood, self._well_since = mood, self.loop.now

    @property
    def well_for(self) -> float:
        """Seconds since something was wrong with the drivers; 0 while something is."""
        return self.loop.now - self._well_since if self._mood is WELL else 0.0

    @property
    def well(self) -> bool:
        """Whether nothing is wrong, and nothing still hangs from when something was."""
        hangs = any(process is not None and not process.dead for process in self._hanging)
        return self.mood is WELL and not hangs

    async def _suffer(self) -> None:
        if self.mood.broken:
            raise DriverError("the driver does not answer")
        if self.random.random() < self.mood.hang:
            process = PROCESS.get()
            self._hanging.append(process)
            try:
                await asyncio.sleep(HANG_SECONDS)
            finally:
                self._hanging.remove(process)

    def _slowed(self, due: float) -> float:
        return (due - self.loop.now) * self.mood.slow

    def _free_at(self, batch: Batch, group: IndexSet) -> float:
        if not self._ends:
            return 0.0
        name = batch.fleet.name
        return max((self._ends.get((name, index), 0.0) for index in group), default=0.0)

    def _begin(self, batch: Batch, group: IndexSet, due: float) -> None:
        for index in group:
            self._ends[batch.fleet.name, index] = due

    def _land(
        self,
        kind: StepKind,
        batch: Batch,
        group: IndexSet,
        act: Act,
        done: asyncio.Future[StepResult],
        process: Process | None,
        boot: int,
    ) -> None:
        """The work comes to its end, on the machine."""
        if boot != self.boot:
            return
        for index in group:
            if self._ends.get((batch.fleet.name, index), 0.0) <= self.loop.now:
                self._ends.pop((batch.fleet.name, index), None)
        if process is not None and process.dead and self.random.random() < 0.5:
            return  # it had only been about to begin
        result = self._outcome(kind, batch, group, act)
        if not done.done():
            done.set_result(result)

    def _outcome(self, kind: StepKind, batch: Batch, group: IndexSet, act: Act) -> StepResult:
        mood = self.mood
        if mood is WELL:
            self.witness.step_begins(self.host, kind, batch, group)
            return act(batch, group)
        failures: list[StepFailure] = []
        skipped: list[int] = []
        lied: list[int] = []
        for index in group:
            roll = self.random.random()
            if mood.full and kind is StepKind.CLONE:
                failures.append(StepFailure(index, "no_space", "the pool is full"))
            elif roll < mood.fail:
                failures.append(StepFailure(index, "injected", f"{kind} failed"))
            elif roll < mood.fail + mood.lie_failed:
                lied.append(index)
            elif roll < mood.fail + mood.lie_failed + mood.lie_done:
                skipped.append(index)
        done = group - IndexSet.of([*skipped, *(failure.index for failure in failures)])
        if done:
            self.witness.step_begins(self.host, kind, batch, done)
        result = act(batch, done) if done else StepResult(EMPTY)
        untrue = result.done & IndexSet.of(lied)
        failures += [StepFailure(index, "lied", f"{kind} is said to fail") for index in untrue]
        if skipped:
            self.witness.step_faked(self.host, kind, batch, IndexSet.of(skipped))
        told = (result.done - untrue) | IndexSet.of(skipped)
        return StepResult(told, (*result.failures, *failures))


class SimStorage(HollowStorage):
    """Storage of one machine."""

    def __init__(self, behaviour: SimBehaviour) -> None:
        super().__init__(behaviour)
        self._sim = behaviour

    async def listing(self) -> tuple[CloneRun, ...]:
        await _list(self._sim)
        return await super().listing()

    def all_clones(self) -> dict[Kin, IndexSet]:
        return self._clones.all()

    def named(self, fleet: str) -> dict[Kin, IndexSet]:
        """Clones under the names of a fleet's VMs, whichever fleet of that name they are of."""
        return dict(self._clones.by_name.get(fleet, {}))


class SimHypervisor(HollowHypervisor):
    """Hypervisor of one machine; domains that start and end are told as it happens."""

    def __init__(self, behaviour: SimBehaviour, capacity: int) -> None:
        super().__init__(behaviour, capacity)
        self._sim = behaviour

    async def listing(self) -> tuple[DomainRun, ...]:
        await _list(self._sim)
        return await super().listing()

    def active(self, kin: Kin) -> IndexSet:
        return self._active.get(kin, EMPTY)

    def all_defined(self) -> dict[Kin, IndexSet]:
        return self._domains.all()

    def named(self, fleet: str) -> dict[Kin, IndexSet]:
        """Domains under the names of a fleet's VMs, whichever fleet of that name they are of."""
        return dict(self._domains.by_name.get(fleet, {}))

    def all_active(self) -> dict[Kin, IndexSet]:
        return dict(self._active)

    def power_off(self) -> None:
        """Every domain ends; definitions stay."""
        for kin, indices in list(self._active.items()):
            self._deactivate(kin, indices)

    def _start(self, batch: Batch, indices: IndexSet) -> StepResult:
        before = self.active(batch.kin)
        result = super()._start(batch, indices)
        if fresh := self.active(batch.kin) - before:
            self._sim.witness.vms_started(self._sim.host, batch.kin, fresh)
        return result

    def _deactivate(self, kin: Kin, indices: IndexSet) -> None:
        if gone := self.active(kin) & indices:
            self._sim.witness.vms_ended(self._sim.host, kin, gone)
        super()._deactivate(kin, indices)


async def _list(behaviour: SimBehaviour) -> None:
    if behaviour.mood is WELL:
        return
    if behaviour.mood.broken:
        raise DriverError("the driver does not answer")
    await asyncio.sleep(0.05 * behaviour.mood.slow)


def worse(mood: Mood, **changes: float) -> Mood:
    """The mood with these changes."""
    return replace(mood, **changes)  # type: ignore[arg-type]
