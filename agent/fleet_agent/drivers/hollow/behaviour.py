"""How long the hollow drivers of a host take, and what fails, as its profile says.

What a slow step has begun takes effect group by group, as its results are yielded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import Batch, StepFailure, StepKind, StepResult
from fleet_agent.drivers.hollow.profile import INSTANT, Dice, Latency, Profile

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
