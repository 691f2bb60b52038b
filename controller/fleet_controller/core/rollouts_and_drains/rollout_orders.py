"""What operators ask of rollouts, decided: the record afterwards, and the fleet's.

The fleet's generation is what further VMs are made of. A rollout that begins or is resumed sets it
to its target; one that is halted, aborted or undone sets it back, so that nothing more is made of
a generation that was given up.
"""

from __future__ import annotations

import math
from collections import Counter
from enum import StrEnum

import msgspec
from msgspec import structs

from fleet_controller.core.model import (
    ClusterView,
    FleetRecord,
    RolloutRecord,
    RolloutState,
)
from fleet_controller.core.refusals import Reason, Refused

DEFAULT_SHARE = 0.05
DEFAULT_HALT = 0.2
MAX_LABEL_NAME = 255  # characters


class RolloutOptions(msgspec.Struct, frozen=True):
    """How a rollout is to go; 0 and "" are the defaults of RolloutRequest."""

    generation: int = 0
    max_unavailable: int = 0
    max_unavailable_share: float = 0.0
    by_label: str = ""
    halt_share: float = 0.0


class Ordered(msgspec.Struct, frozen=True):
    """A rollout decided."""

    record: RolloutRecord
    fleet: FleetRecord


class RolloutAction(StrEnum):
    """What may be done to a rollout."""

    START = "start"
    UNDO = "undo"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"


# What an operator may ask of a rollout in each state, and the state that it has then.
_MOVES: dict[tuple[RolloutAction, RolloutState], RolloutState] = {
    (RolloutAction.PAUSE, RolloutState.RUNNING): RolloutState.PAUSED,
    (RolloutAction.RESUME, RolloutState.PAUSED): RolloutState.RUNNING,
    (RolloutAction.RESUME, RolloutState.HALTED): RolloutState.RUNNING,
    (RolloutAction.ABORT, RolloutState.RUNNING): RolloutState.ABORTED,
    (RolloutAction.ABORT, RolloutState.PAUSED): RolloutState.ABORTED,
    (RolloutAction.ABORT, RolloutState.HALTED): RolloutState.ABORTED,
}


def start(
    view: ClusterView, fleet: FleetRecord, options: RolloutOptions, actor: str, now: float
) -> Ordered:
    """A rollout begun. `now`: seconds since the epoch. Raises Refused."""
    _check(view, fleet, options)
    have = view.rollouts.get(fleet.uid)
    if have and have.open:
        raise Refused(
            Reason.ROLLOUT_UNDER_WAY,
            f"a rollout of {fleet.name} to generation {have.to_generation} is {have.state}; "
            "resume, abort or undo it first",
        )
    newest = max((g for uid, g in view.specs if uid == fleet.uid), default=fleet.generation)
    applied = fleet.applied if (fleet.uid, fleet.applied) in view.specs else newest
    target = options.generation or applied
    if (fleet.uid, target) not in view.specs:
        raise Refused(
            Reason.NO_SUCH_GENERATION,
            f"fleet {fleet.name} has no generation {target}; the newest is {newest}",
        )
    before = _commonest(view, fleet, target)
    record = RolloutRecord(
        fleet.uid, before, target, view.revision,
        max_unavailable=options.max_unavailable,
        max_unavailable_share=options.max_unavailable_share or DEFAULT_SHARE,
        by_label=options.by_label,
        halt_share=options.halt_share or DEFAULT_HALT,
        since_unix=now,
        actor=actor,
    )  # fmt: skip
    return Ordered(record, structs.replace(fleet, generation=target, changed_by=actor))


def undo(view: ClusterView, fleet: FleetRecord, actor: str, now: float) -> Ordered:
    """A rollout back to where the last one came from, as it was asked for. Raises Refused."""
    have = _last(view, fleet)
    record = structs.replace(
        have,
        from_generation=have.to_generation,
        to_generation=have.from_generation,
        since_revision=view.revision,
        state=RolloutState.RUNNING,
        since_unix=now,
        actor=actor,
        why="",
    )
    back = structs.replace(fleet, generation=record.to_generation, changed_by=actor)
    return Ordered(record, back)


def turn(view: ClusterView, fleet: FleetRecord, action: RolloutAction, actor: str) -> Ordered:
    """`action`: pause, resume or abort. Raises Refused."""
    have = _last(view, fleet)
    state = _MOVES.get((action, have.state))
    if state is None:
        raise Refused(
            Reason.ROLLOUT_STATE,
            f"the rollout of {fleet.name} to generation {have.to_generation} is {have.state}: "
            f"there is nothing to {action}",
        )
    record = structs.replace(have, state=state, actor=actor, why="")
    generation = fleet.generation
    if state is RolloutState.RUNNING:
        generation = have.to_generation
        if have.state is RolloutState.HALTED:  # judged anew: whatever failed was looked after
            record = structs.replace(record, since_revision=view.revision)
    elif state is RolloutState.ABORTED:
        generation = have.from_generation
    if generation != fleet.generation:
        fleet = structs.replace(fleet, generation=generation, changed_by=actor)
    return Ordered(record, fleet)


def to_change(view: ClusterView, fleet: FleetRecord, generation: int) -> tuple[int, int]:
    """How many VMs are of other generations, and on how many hosts."""
    counts = [
        sum(len(shard.ranges) for shard in host.assignment.shards
            if shard.fleet == fleet.uid and shard.generation != generation and not shard.staged)
        for host in view.hosts.values()
    ]  # fmt: skip
    return sum(counts), sum(1 for count in counts if count)


def _last(view: ClusterView, fleet: FleetRecord) -> RolloutRecord:
    have = view.rollouts.get(fleet.uid)
    if have is None:
        raise Refused(Reason.ROLLOUT_STATE, f"there was no rollout of {fleet.name} yet")
    if fleet.deleting:
        raise Refused(Reason.FLEET_DELETING, f"fleet {fleet.name} is being deleted")
    return have


def _commonest(view: ClusterView, fleet: FleetRecord, target: int) -> int:
    """The generation that most VMs have besides the target. Raises Refused without any."""
    counts: Counter[int] = Counter()
    for host in view.hosts.values():
        for shard in host.assignment.shards:
            if shard.fleet == fleet.uid and shard.generation != target and not shard.staged:
                counts[shard.generation] += len(shard.ranges)
    if not counts:
        raise Refused(
            Reason.NOTHING_TO_CHANGE,
            f"all VMs of {fleet.name} have generation {target} already",
        )
    return max(counts, key=lambda generation: (counts[generation], generation))


def _check(view: ClusterView, fleet: FleetRecord, options: RolloutOptions) -> None:
    if fleet.deleting:
        raise Refused(Reason.FLEET_DELETING, f"fleet {fleet.name} is being deleted")
    for what, share in (
        ("max-unavailable", options.max_unavailable_share),
        ("halt", options.halt_share),
    ):
        if not (math.isfinite(share) and 0.0 <= share <= 1.0):
            raise Refused(Reason.BAD_QUERY, f"a {what} share is from 0 to 1; {share:g} is not")
    if len(options.by_label) > MAX_LABEL_NAME:
        raise Refused(Reason.BAD_QUERY, f"a label's name has at most {MAX_LABEL_NAME} characters")
    known = not options.by_label or any(
        options.by_label in host.record.labels for host in view.hosts.values()
    )
    if not known:
        raise Refused(Reason.BAD_QUERY, f"no host has a label {options.by_label[:80]!r}")
