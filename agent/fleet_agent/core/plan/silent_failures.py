"""What the drivers' listing shows to be amiss though no step has failed: VMs that ended by
themselves, and steps that were called done and have had no effect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.assignment import Assignment
from fleet_agent.core.model import DIED, Phase, StepFailure, StepKind
from fleet_agent.core.plan.plan import Step
from fleet_agent.core.plan.snapshot import Snapshot

Failures = tuple[Kin, list[StepFailure]]


def deaths(
    assignment: Assignment, running: Callable[[Kin], IndexSet], snapshot: Snapshot
) -> Iterator[Failures]:
    """VMs that ran when `running` was last reported, and are down by themselves. They are started
    again, with back-off; those of a bad template are not, and have failed for that."""
    for shard in assignment.shards:
        if not shard.power_on or assignment.bad_spec(shard.kin):
            continue
        ran = running(shard.kin) & shard.indices
        down = ran - snapshot.phase(shard.kin, Phase.READY)
        down = down - snapshot.phase(shard.kin, Phase.ACTIVE)
        if down:
            message = "it was running and is not active any more"
            yield shard.kin, [StepFailure(index, DIED, message) for index in down]


def without_effect(
    before: Iterable[Step], again: Iterable[Step], failed: Mapping[Kin, IndexSet]
) -> Iterator[Failures]:
    """Steps that a driver called done and that are to be done again. `failed`: what is known to
    have failed at any step meanwhile."""
    done: dict[tuple[StepKind, Kin], IndexSet] = {}
    for step in before:
        key = (step.kind, step.kin)
        done[key] = done.get(key, EMPTY) | step.indices
    for step in again:
        undone = step.indices & done.get((step.kind, step.kin), EMPTY)
        undone = undone - failed.get(step.kin, EMPTY)
        if undone:
            message = f"{step.kind} was done and has had no effect"
            yield step.kin, [StepFailure(index, "no_effect", message) for index in undone]
