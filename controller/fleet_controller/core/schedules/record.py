"""How far a fleet's schedule is carried out, and a total that holds for a while."""

from __future__ import annotations

from typing import Annotated

import msgspec

from fleet_controller.core.model import Total

# Seconds since 1970; the calendar goes no further than the year 5138.
Instant = Annotated[float, msgspec.Meta(ge=0, le=1e11)]


class TimedTotal(msgspec.Struct, frozen=True, omit_defaults=True):
    """A total that holds until then, over points of the schedule. `then`: what the total was before
    it, and is again where no point has come meanwhile."""

    until: Instant
    then: Total
    actor: str = ""


class Unfit(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was due and could not be: it is tried again until something else is said."""

    total: Total
    at: Instant  # when it came
    why: str
    actor: str = ""


class ScheduleRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of one fleet. It is written in the transaction that changes the total."""

    fleet: str  # uid
    done_until: Instant  # points up to then are carried out, or passed over
    actor: str = ""  # who has applied the schedule; empty: there is none
    by_hand: str = ""  # who has changed the total since the last point
    timed: TimedTotal | None = None
    unfit: Unfit | None = None

    @property
    def is_needed(self) -> bool:
        return bool(self.actor) or self.timed is not None or self.unfit is not None
