"""Mistakes that a leader could make with totals that change by time."""

from __future__ import annotations

from typing import Any

import msgspec

from fleet.template.calendar import Calendar
from fleet_controller.changes import schedule_writes
from fleet_controller.changes.schedules import ScheduleChanges
from fleet_controller.core.schedules import due
from fleet_controller.core.schedules.orders import scaled
from fleet_controller.core.schedules.record import ScheduleRecord
from fleet_controller.mirror.records import Write
from tests.simulation.seeded_bugs.replacing import SeededBug, wrong


def _nothing_kept(self: ScheduleChanges, *record: Any) -> list[Write]:
    """Whoever carries a point out knows that it has."""
    return []


_since = due._since


def _since_unless_by_hand(record: ScheduleRecord, calendar: Calendar | None, now: float) -> Any:
    """What somebody has said stands."""
    return None if record.by_hand else _since(record, calendar, now)


def _scaled_now(*args: Any) -> ScheduleRecord | None:
    """The clock is right."""
    made = scaled(*args)
    return msgspec.structs.replace(made, done_until=args[4]) if made else None


BY_TIME: tuple[SeededBug, ...] = (
    SeededBug(
        "a point is not remembered", (wrong(ScheduleChanges._kept, _nothing_kept),), ("tides",)
    ),
    SeededBug(
        "what is said by hand holds for ever",
        (wrong(due._since, _since_unless_by_hand),),
        ("tides",),
    ),
    SeededBug(
        "points come again after a clock that was ahead",
        (wrong(scaled, _scaled_now, seen_in=schedule_writes),),
        ("tides", "wrong_time"),
    ),
)
