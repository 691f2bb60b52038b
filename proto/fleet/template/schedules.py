"""What is wrong with a schedule beyond its single fields."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fleet.template.field import shown
from fleet.v1 import types_pb2 as types

MAX_POINTS = 32
ENTRY = re.compile(r"[0-9A-Za-z*/,#-]{1,64}( [0-9A-Za-z*/,#-]{1,64}){4}")
ENTRY_WORDS = (
    "five fields as in a crontab, with single spaces: minute, hour, day of month, month, day of "
    "week, as in '0 8 * * 1-5'"
)
ZONE = re.compile(r"([A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2})?")
ZONE_WORDS = "the IANA name of a time zone, as in Europe/Berlin"


def wrong_schedule(schedule: types.Schedule) -> Iterator[str]:
    """What nobody could follow. Agents never ask: what they are told of a schedule they leave."""
    from fleet.template.calendar import BadSchedule, check_entry, time_zone

    if not schedule.points:
        yield "schedule.points: must be one at least; without a schedule leave the section out"
    if not ZONE.fullmatch(schedule.time_zone):
        return  # told of the field already
    try:
        time_zone(schedule.time_zone)
    except BadSchedule as error:
        yield f"schedule.time_zone: {error}"
    seen: set[str] = set()
    for number, one in enumerate(schedule.points[:MAX_POINTS]):
        path = f"schedule.points[{number}].at"
        if not ENTRY.fullmatch(one.at):
            continue
        if one.at in seen:
            yield f"{path}: {shown(one.at)} stands there twice"
        seen.add(one.at)
        try:
            check_entry(one.at)
        except BadSchedule as error:
            yield f"{path}: {error}"
