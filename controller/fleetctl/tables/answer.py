"""A list as a command found it: what any format may be made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from fleetctl.tables.column import Column, Kind, Row, Value


@dataclass(frozen=True, slots=True)
class ListAnswer(Generic[Row]):
    """`document`: what -o json has; `empty`: what is said of a list that has nothing; `remark`:
    what is said beside the list, and nothing by default."""

    columns: Sequence[Column[Row]]
    rows: Sequence[Row]
    document: Callable[[], Any]
    empty: str
    remark: str = ""


# Of each row by its name: what it is told by, but for its ages.
Told = dict[Value, tuple[Value, ...]]


def told_by(answer: ListAnswer[Row]) -> Told:
    """What has to be another before a row has changed: ages change by themselves."""
    name, lasting = answer.columns[0], [one for one in answer.columns if one.kind is not Kind.AGE]
    return {name.value(row): tuple(one.value(row) for one in lasting) for row in answer.rows}


def changed(answer: ListAnswer[Row], before: Told) -> tuple[list[Row], list[Value]]:
    """Rows that are new or other than before, and the names of those that are gone."""
    name, now = answer.columns[0], told_by(answer)
    rows = [row for row in answer.rows if before.get(name.value(row)) != now[name.value(row)]]
    return rows, [one for one in before if one not in now]
