"""What the drivers' listing shows to be amiss though no step has failed: VMs that ended by
themselves or were halted by their hypervisor, and steps that were called done and have had no
effect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.assignment import Assignment
from fleet_agent.core.model import DIED, PAUSED, Phase, StepFailure, StepKind
from fleet_agent.core.plan.plan import Step
from fleet_agent.core.plan.snapshot import Snapshot

Failures = tuple[Kin, list[StepFailure]]


def deaths(
    assignment: Assignment, running: Callable[[Kin], IndexSet], snapshot: Snapshot
) -> Iterator[Failures]:
    """VMs that ran when `running` was last reported, and are down by themselves or halted. They are
    started again, with back-off; those of a bad template are not, and have failed for that."""
    for shard in assignment.shards:
        if not shard.power_on or assignment.bad_spec(shard.kin):
            continue
        ran = running(shard.kin) & shard.indices
        if down := ran - snapshot.active(shard.kin):
            message = "it was running and is not active any more"
            yield shard.kin, [StepFailure(index, DIED, message) for index in down]
        if halted := ran & snapshot.phase(shard.kin, Phase.HALTED):
            yield shard.kin, [_halted(shard.kin, index, snapshot) for index in halted]


def _halted(kin: Kin, index: int, snapshot: Snapshot) -> StepFailure:
    return StepFailure(index, PAUSED, snapshot.why_stalled(kin, index))


def without_effect(
    before: Iterable[Step],
    again: Iterable[Step],
    failed: Mapping[Kin, IndexSet],
    snapshot: Snapshot,
) -> Iterator[Failures]:
    """Steps that a driver called done and that are to be done again. `failed`: what is known to
    have failed at any step meanwhile. What was let go on may have been halted again at once."""
    done: dict[tuple[StepKind, Kin], IndexSet] = {}
    for step in before:
        key = (step.kind, step.kin)
        done[key] = done.get(key, EMPTY) | step.indices
    for step in again:
        undone = step.indices & done.get((step.kind, step.kin), EMPTY)
        undone = undone - failed.get(step.kin, EMPTY)
        halted = undone & snapshot.phase(step.kin, Phase.HALTED)
        if halted and step.kind is StepKind.START:
            yield step.kin, [_halted(step.kin, index, snapshot) for index in halted]
        undone = undone - halted
        if undone:
            message = f"{step.kind} was done and has had no effect"
            yield step.kin, [StepFailure(index, "no_effect", message) for index in undone]
