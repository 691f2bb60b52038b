"""What a column of a list is, and how its values are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Generic, TypeVar

from fleetctl.outcome import one_line
from fleetctl.output import ago, byte_text
from fleetctl.tables.layout import READABLE

Row = TypeVar("Row")
# What a row has in a column: text; a number; bytes; seconds since 1970. None: it has nothing there.
Value = str | int | float | None

NOTHING = "-"


class Kind(Enum):
    """What a column's values are: how they are written, and at which side they stand."""

    TEXT = auto()  # may be shortened at the end of a word
    NAME = auto()  # is never shortened: it is copied into the next command
    NUMBER = auto()
    ORDINAL = auto()  # which one, not how many: without separators
    BYTES = auto()
    AGE = auto()  # a moment, told as how long ago it was
    TIME = auto()  # a moment, told as the clock had it: to be held beside other logs


_TO_THE_RIGHT = frozenset({Kind.NUMBER, Kind.ORDINAL, Kind.BYTES})


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """A named value of each row.

    Where the width is too small, the column of the highest rank goes first, and is shortened first;
    rank 0 stays. `spare`: shown where there is width to spare, and by -o wide.
    """

    name: str
    value: Callable[[Row], Value]
    kind: Kind = Kind.TEXT
    rank: int = 0
    spare: bool = False
    colour: Callable[[Row], str | None] | None = None
    least: int = 0  # characters that it takes at least, for lists that go on
    readable: int = READABLE  # columns of a rank above 0 go before it has less

    @property
    def key(self) -> str:
        """Its name as it is typed, and as CSV has it: failed_for."""
        spelled = self.name.lower().replace(" ", "_").replace("%", "percent")
        return spelled.replace("/s", "_per_second")

    @property
    def to_the_right(self) -> bool:
        return self.kind in _TO_THE_RIGHT


def cell_text(column: Column[Row], value: Value, now: float, *, whole: bool) -> str:
    """As people read it. `now`: seconds since 1970. `whole`: moments with date and zone."""
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return one_line(value)
    if not math.isfinite(value):  # hosts tell it: it may be anything
        return NOTHING
    if column.kind is Kind.BYTES:
        return byte_text(round(value))
    if column.kind in (Kind.AGE, Kind.TIME):
        if whole:
            return moment_text(value)
        return ago(now - value) if column.kind is Kind.AGE else clock_text(value)
    if column.kind is Kind.ORDINAL:
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def plain_text(column: Column[Row], value: Value) -> str:
    """As programs read it: bare numbers, moments by ISO 8601, nothing for nothing."""
    if value is None:
        return ""
    if isinstance(value, str):
        return one_line(value)
    if column.kind in (Kind.AGE, Kind.TIME):
        return iso_text(value) or ""
    return str(value if isinstance(value, int) else round(value, 3))


def cell_texts(column: Column[Row], rows: Sequence[Row], now: float, *, whole: bool) -> list[str]:
    """Of all rows, as `cell_text`."""
    return [
        value
        if type(value) is str and value.isprintable()
        else cell_text(column, value, now, whole=whole)
        for value in map(column.value, rows)
    ]


def plain_texts(column: Column[Row], rows: Sequence[Row]) -> list[str]:
    """Of all rows, as `plain_text`."""
    return [
        value if type(value) is str and value.isprintable() else plain_text(column, value)
        for value in map(column.value, rows)
    ]


def moment_text(seconds: float) -> str:
    """2026-03-01 12:00:00+01:00, in the reader's time zone."""
    try:
        return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):  # hosts tell it: it may be anything
        return NOTHING


def iso_text(seconds: float | None) -> str | None:
    """2026-03-01T12:00:00+01:00, as JSON and CSV have moments; None for none."""
    return moment_text(seconds).replace(" ", "T", 1) if seconds else None


def clock_text(seconds: float) -> str:
    """2026-03-01 12:00:00, in the reader's time zone."""
    return moment_text(seconds)[:19]
