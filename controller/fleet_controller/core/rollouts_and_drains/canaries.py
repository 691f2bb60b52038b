"""Canaries: the VMs that a rollout changes first, how well they are, and what follows from that.

A canary is well once it has run for the rollout's time without a break, on a host that this leader
has heard all the while. A rollout is promoted by itself once all its canaries are made, at least
one is well, and no more than the halt share of them are not. So whoever leads next begins to count
anew, and never promotes too early.
"""

from __future__ import annotations

import msgspec
from msgspec import structs

from fleet.ranges import IndexSet
from fleet_controller.core.model import FleetRecord, RolloutRecord, RolloutState

# Seconds that canaries may wait for their promotion, besides what was asked for, before somebody
# is told that they were forgotten.
FORGOTTEN_AFTER = 24 * 3600.0
# Between two looks at canaries that are to run for some time: a tenth of that, within these.
_SOONEST, _LATEST = 1.0, 30.0
_HOUR = 3600.0


class Canaries(msgspec.Struct, frozen=True):
    """Of one rollout that needs its promotion. `wanted`: how many. `made`: all VMs of the new
    generation, whoever made them. `well`: how many of these are. `settled`: none of them is on its
    way. `look_again`: seconds until it may be otherwise by itself; 0: nothing is."""

    wanted: int
    made: int
    well: int
    settled: bool
    look_again: float = 0.0

    @property
    def to_make(self) -> int:
        return max(0, self.wanted - self.made)


def most_canaries(record: RolloutRecord, total: int) -> int:
    """How many VMs are changed before it is promoted; at least one, and not more than there are."""
    return min(total, record.canaries or max(1, int(record.canary_share * total)))


def canaries_of(
    record: RolloutRecord, fleet: FleetRecord, made: IndexSet, well: IndexSet, settled: bool,
    now: float,
) -> Canaries:  # fmt: skip
    """`made`: VMs of the new generation; `well`: of these, the ones that are to run and have, for
    as long as they must."""
    wanted = most_canaries(record, fleet.total)
    told_in = [] if record.forgotten else [_forgotten_at(record) - now]
    if record.promote_after:
        told_in.append(min(_LATEST, max(_SOONEST, record.promote_after / 10)))
    again = max(_SOONEST, min(told_in, default=_HOUR))
    return Canaries(wanted, len(made), len(well), settled, again)


def promoted(record: RolloutRecord, canaries: Canaries) -> RolloutRecord | None:
    """The rollout promoted by itself; None: its canaries are not well enough, or nobody may but a
    person."""
    if not record.promote_after or canaries.to_make or not canaries.well:
        return None
    most = max(canaries.wanted, canaries.made)
    if most - canaries.well > record.halt_share * most:
        return None
    return promotion(record)


def promotion(record: RolloutRecord) -> RolloutRecord:
    """The rest may be changed."""
    return structs.replace(
        record, state=RolloutState.RUNNING, promoted=True, forgotten=False, why=""
    )


def forgotten(record: RolloutRecord, now: float) -> RolloutRecord | None:
    """The same, once its canaries have waited for so long that somebody is to be told."""
    if record.forgotten or now < _forgotten_at(record):
        return None
    return structs.replace(record, forgotten=True)


def undone(record: RolloutRecord, why: str, revision: int, now: float) -> RolloutRecord:
    """A rollout back to where this one came from, all at once: without canaries, and it halts where
    that fails as well."""
    return structs.replace(
        record,
        from_generation=record.to_generation,
        to_generation=record.from_generation,
        since_revision=revision,
        state=RolloutState.RUNNING,
        since_unix=now,
        canaries=0,
        canary_share=0.0,
        promote_after=0,
        promoted=False,
        undo_on_halt=False,
        forgotten=False,
        why=why,
    )


def canaries_wait(record: RolloutRecord, canaries: Canaries, name: str, now: float) -> str:
    """What canaries wait for, in one sentence. `name`: of the fleet."""
    if canaries.to_make:
        return f"{canaries.made:,} of {canaries.wanted:,} canaries are made"
    by_hand = f"'fleetctl rollout promote {name}'"
    most = max(canaries.wanted, canaries.made)
    if record.promote_after:
        needed = most - int(record.halt_share * most)
        text = (
            f"{canaries.well:,} of {most:,} canaries have run for {_duration(record.promote_after)}"
            f" without a break; it is promoted once {max(1, needed):,} have"
        )
    else:
        text = f"{canaries.well:,} of {most:,} canaries run; they wait for {by_hand}"
    if not record.forgotten:
        return text
    since = f"they have waited for {_duration(now - record.since_unix)}"
    return f"{text}; {since}: promote it, hold it, or undo it"


def _forgotten_at(record: RolloutRecord) -> float:
    return record.since_unix + record.promote_after + FORGOTTEN_AFTER


def _duration(seconds: float) -> str:
    for unit, length in (("d", 24 * _HOUR), ("h", _HOUR), ("min", 60.0)):
        if seconds >= 2 * length or seconds == length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
