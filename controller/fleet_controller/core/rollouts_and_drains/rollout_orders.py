"""What operators ask of rollouts, decided: the record afterwards, and the fleet's.

The fleet's generation is what further VMs are made of. A rollout that begins, is resumed or is
promoted sets it to its target; one that has canaries first, or is halted, aborted or undone, sets
it back, so that nothing more is made of a generation that is not trusted yet, or was given up. A
hold sets it to whatever is asked for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
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
from fleet_controller.core.rollouts_and_drains.canaries import promotion, undone
from fleet_controller.core.rollouts_and_drains.rollout import further_generation

DEFAULT_SHARE = 0.05
DEFAULT_HALT = 0.2
MAX_LABEL_NAME = 255  # characters
MAX_PROMOTE_AFTER = 30 * 24 * 3600  # seconds


class RolloutOptions(msgspec.Struct, frozen=True):
    """How a rollout is to go; 0 and "" are the defaults of RolloutRequest."""

    generation: int = 0
    max_unavailable: int = 0
    max_unavailable_share: float = 0.0
    by_label: str = ""
    halt_share: float = 0.0
    canaries: int = 0
    canary_share: float = 0.0
    promote_after: int = 0  # seconds; 0: by hand
    undo_on_halt: bool = False


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
    PROMOTE = "promote"
    HOLD = "hold"
    BACK = "back"


# The states in which an operator may ask it of a rollout, and the state that it has then; one that
# still needs its promotion has its canaries alone changed when it is resumed.
_MOVES: Mapping[RolloutAction, tuple[frozenset[RolloutState], RolloutState]] = {
    RolloutAction.PAUSE: (
        frozenset({RolloutState.RUNNING, RolloutState.CANARY}),
        RolloutState.PAUSED,
    ),
    RolloutAction.RESUME: (
        frozenset({RolloutState.PAUSED, RolloutState.HALTED, RolloutState.HELD}),
        RolloutState.RUNNING,
    ),
    RolloutAction.ABORT: (
        frozenset(RolloutState) - {RolloutState.ABORTED, RolloutState.DONE},
        RolloutState.ABORTED,
    ),
    RolloutAction.PROMOTE: (
        frozenset({RolloutState.CANARY, RolloutState.HELD}),
        RolloutState.RUNNING,
    ),
    RolloutAction.HOLD: (
        frozenset(RolloutState) - {RolloutState.ABORTED, RolloutState.DONE},
        RolloutState.HELD,
    ),
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
            f"a rollout of {fleet.name} to generation {have.to_generation} is "
            f"{have.state.words}; resume, promote, abort or undo it first",
        )
    return _begun(view, fleet, options, actor, now)


def back(
    view: ClusterView, fleet: FleetRecord, options: RolloutOptions, actor: str, now: float
) -> Ordered:
    """A rollout to a generation that the fleet had, in place of one that is not over. Raises
    Refused."""
    _check(view, fleet, options)
    if not options.generation:
        raise Refused(Reason.BAD_QUERY, "which generation to go back to has to be said: --to N")
    return _begun(view, fleet, options, actor, now)


def undo(view: ClusterView, fleet: FleetRecord, actor: str, now: float) -> Ordered:
    """A rollout back to where the last one came from, as it was asked for. Raises Refused."""
    have = _last(view, fleet)
    record = structs.replace(undone(have, "", view.revision, now), actor=actor)
    return _ordered(record, fleet, actor)


def _begun(
    view: ClusterView, fleet: FleetRecord, options: RolloutOptions, actor: str, now: float
) -> Ordered:
    newest = max((g for uid, g in view.specs if uid == fleet.uid), default=fleet.generation)
    applied = fleet.applied if (fleet.uid, fleet.applied) in view.specs else newest
    target = options.generation or applied
    _check_generation(view, fleet, target)
    before = _commonest(view, fleet, target)
    has_canaries = bool(options.canaries or options.canary_share)
    record = RolloutRecord(
        fleet.uid, before, target, view.revision,
        state=RolloutState.CANARY if has_canaries else RolloutState.RUNNING,
        max_unavailable=options.max_unavailable,
        max_unavailable_share=options.max_unavailable_share or DEFAULT_SHARE,
        by_label=options.by_label,
        halt_share=options.halt_share or DEFAULT_HALT,
        since_unix=now,
        actor=actor,
        canaries=options.canaries,
        canary_share=options.canary_share,
        promote_after=options.promote_after,
        undo_on_halt=options.undo_on_halt,
    )  # fmt: skip
    return _ordered(record, fleet, actor)


def _ordered(record: RolloutRecord, fleet: FleetRecord, actor: str) -> Ordered:
    """With what further VMs are made of from now on."""
    generation = further_generation(record, fleet)
    if generation != fleet.generation:
        fleet = structs.replace(fleet, generation=generation, changed_by=actor)
    return Ordered(record, fleet)


def turn(
    view: ClusterView, fleet: FleetRecord, action: RolloutAction, actor: str, generation: int = 0
) -> Ordered:
    """`action`: pause, resume, abort, promote or hold; `generation`: what further VMs get while it
    is held; 0: what they get now. Raises Refused."""
    have = _last(view, fleet)
    allowed, state = _MOVES[action]
    if have.state not in allowed:
        raise Refused(
            Reason.ROLLOUT_STATE,
            f"the rollout of {fleet.name} to generation {have.to_generation} is "
            f"{have.state.words}: there is nothing to {action}",
        )
    if action is RolloutAction.RESUME and have.needs_promotion:
        state = RolloutState.CANARY
    record = structs.replace(have, state=state, actor=actor, why="")
    if action is RolloutAction.PROMOTE:
        record = promotion(record)
    if record.works and have.state is RolloutState.HALTED:  # judged anew: somebody has looked
        record = structs.replace(record, since_revision=view.revision)
    if action is not RolloutAction.HOLD:
        return _ordered(record, fleet, actor)
    if generation:
        _check_generation(view, fleet, generation)
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
    """The generation that most VMs have besides the target; without any, the one that a rollout
    which is not over goes to. Raises Refused where there is nothing to do at all."""
    counts: Counter[int] = Counter()
    for host in view.hosts.values():
        for shard in host.assignment.shards:
            if shard.fleet == fleet.uid and shard.generation != target and not shard.staged:
                counts[shard.generation] += len(shard.ranges)
    if counts:
        return max(counts, key=lambda generation: (counts[generation], generation))
    have = view.rollouts.get(fleet.uid)
    if have and have.open and have.to_generation != target:
        return have.to_generation
    raise Refused(
        Reason.NOTHING_TO_CHANGE,
        f"all VMs of {fleet.name} have generation {target} already",
    )


def _check_generation(view: ClusterView, fleet: FleetRecord, generation: int) -> None:
    if (fleet.uid, generation) in view.specs:
        return
    newest = max((g for uid, g in view.specs if uid == fleet.uid), default=fleet.generation)
    raise Refused(
        Reason.NO_SUCH_GENERATION,
        f"fleet {fleet.name} has no generation {generation}; the newest is {newest}",
    )


def _check(view: ClusterView, fleet: FleetRecord, options: RolloutOptions) -> None:
    if fleet.deleting:
        raise Refused(Reason.FLEET_DELETING, f"fleet {fleet.name} is being deleted")
    for what, share in (
        ("max-unavailable", options.max_unavailable_share),
        ("halt", options.halt_share),
        ("canary", options.canary_share),
    ):
        if not (math.isfinite(share) and 0.0 <= share <= 1.0):
            raise Refused(Reason.BAD_QUERY, f"a {what} share is from 0 to 1; {share:g} is not")
    if options.promote_after > MAX_PROMOTE_AFTER:
        raise Refused(Reason.BAD_QUERY, "canaries are promoted after 30 days at most")
    if options.promote_after and not (options.canaries or options.canary_share):
        raise Refused(Reason.BAD_QUERY, "there is nothing to promote without canaries")
    if len(options.by_label) > MAX_LABEL_NAME:
        raise Refused(Reason.BAD_QUERY, f"a label's name has at most {MAX_LABEL_NAME} characters")
    known = not options.by_label or any(
        options.by_label in host.record.labels for host in view.hosts.values()
    )
    if not known:
        raise Refused(Reason.BAD_QUERY, f"no host has a label {options.by_label[:80]!r}")
