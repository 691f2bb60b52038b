"""The calendar of a schedule: at which instants its totals come.

Days and hours are those of its time zone. The time zones are those of the package tzdata, whatever
the machine has: so all that have the same release agree. Instants are seconds since 1970.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from fleet.v1 import types_pb2 as types

# Two points are at least so far apart.
MINUTE = 60.0
UTC_ZONE = "UTC"
# From here on each entry has to come once.
_FROM = datetime(2001, 1, 1, tzinfo=UTC)
# What the library may find before the instant it begins from, where clocks were put back: the
# points of one hour, and of a zone that puts them back by more.
_MOST_BEFORE = 240


class BadSchedule(Exception):
    """A schedule that nobody can follow; one sentence."""


class Point(NamedTuple):
    """At this instant the total is to become this."""

    at: float
    total: int


class Calendar:
    """Of one schedule. Raises BadSchedule."""

    def __init__(self, schedule: types.Schedule) -> None:
        self._zone = time_zone(schedule.time_zone)
        self._entries = [(one.at, one.total) for one in schedule.points]
        for at, _ in self._entries:
            check_entry(at)

    def next(self, after: float) -> Point | None:
        """The first point after the instant; of two at once the entry that stands later counts.
        None: none comes within fifty years."""
        found: Point | None = None
        for at, total in self._entries:
            instant = _next(at, self._zone, after)
            if instant is not None and (found is None or instant <= found.at):
                found = Point(instant, total)
        return found

    def last(self, after: float, until: float) -> Point | None:
        """The last point after the one instant and not after the other. However many came, it is
        found in few steps."""
        found: Point | None = None
        for at, total in self._entries:
            instant = self._last(at, after, until)
            if instant is not None and (found is None or instant >= found.at):
                found = Point(instant, total)
        return found

    def _last(self, at: str, after: float, until: float) -> float | None:
        latest = _next(at, self._zone, after)
        if latest is None or latest > until:
            return None
        beyond = until  # nothing comes after it
        while beyond - latest >= MINUTE:
            middle = (latest + beyond) / 2
            instant = _next(at, self._zone, middle)
            if instant is None or instant > until:
                beyond = middle
            else:
                latest = instant
        return latest

    def local(self, instant: float) -> str:
        """In its time zone: 2026-11-30T08:00+01:00."""
        return local(instant, self._zone)


def local(instant: float, zone: ZoneInfo | None = None) -> str:
    """As a text of the zone; without: of UTC."""
    whole = int(instant)
    return datetime.fromtimestamp(whole, zone or UTC).isoformat(
        timespec="seconds" if whole % 60 else "minutes"
    )


def check_entry(at: str) -> None:
    """Whether this is five fields of a crontab that come at all. Raises BadSchedule."""
    try:
        come = len(at.split()) == 5 and next(CronSim(at, _FROM), None)
    except (CronSimError, AssertionError, ValueError, OverflowError) as error:
        raise BadSchedule(
            f"{at!r} is no time of a crontab: {error or 'it has no sense'}"
        ) from error
    if come is False:
        raise BadSchedule(
            f"{at!r} is no time of a crontab: minute, hour, day of month, month, day of week"
        )
    if come is None:
        raise BadSchedule(f"{at!r} never comes")


def time_zone(name: str) -> ZoneInfo:
    """By its IANA name; empty: UTC. Raises BadSchedule."""
    return _time_zone(name or UTC_ZONE)


@lru_cache(maxsize=64)
def _time_zone(name: str) -> ZoneInfo:
    place = files("tzdata") / "zoneinfo"
    parts = name.split("/")
    try:
        if not all(
            part.replace("_", "").replace("-", "").replace("+", "").isalnum() for part in parts
        ):
            raise ValueError("no such name")
        with place.joinpath(*parts).open("rb") as data:
            return ZoneInfo.from_file(data, name)
    except (OSError, ValueError) as error:
        raise BadSchedule(
            f"no time zone is called {name!r}: its IANA name is needed, as in Europe/Berlin"
        ) from error


def _next(at: str, zone: ZoneInfo, after: float) -> float | None:
    """The first instant after this one. A time of day that is skipped when clocks are put forward
    comes at once after the gap; one that exists twice comes the first time alone. What stands with
    a star for its minutes or its hours goes by elapsed time: it lacks what is skipped, and has
    twice what exists twice."""
    try:
        found = CronSim(at, datetime.fromtimestamp(after, zone))
        for _ in range(_MOST_BEFORE):
            instant = next(found).timestamp()
            if instant > after:
                return instant
    except (StopIteration, OverflowError):
        return None
    return None
