"""Prints a list in the format that was asked for."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

import click

from fleetctl.outcome import Misuse
from fleetctl.output import coloured, note, say, say_json
from fleetctl.tables.answer import ListAnswer
from fleetctl.tables.column import Column, Kind, Row, Value, cell_texts, plain_texts
from fleetctl.tables.formats import CSV, JSON, NAME, TABLE, WIDE, YAML, ListOptions
from fleetctl.tables.layout import Layout, Shape, fitted, lines
from fleetctl.tables.streaming import yaml_text


def screen_width() -> int | None:
    """Columns that lines should fit in; None where nobody looks at a screen."""
    if not sys.stdout.isatty():
        return None
    from shutil import get_terminal_size

    return max(20, get_terminal_size().columns)


@dataclass(slots=True)
class Listing(Generic[Row]):
    """A list that is printed part by part: its header once, and again where columns change."""

    columns: Sequence[Column[Row]]
    options: ListOptions = field(default_factory=ListOptions)
    width: int | None = field(default_factory=screen_width)
    clock: Callable[[], float] = time.time
    colours: bool = field(default_factory=coloured)
    _headed: tuple[int, ...] | None = None

    def say(self, rows: Iterable[Row]) -> None:
        """Prints them, sorted among themselves where that was asked for. Raises Misuse for a
        column that is not there."""
        held = self.sorted(rows)
        if text := "\n".join(self.text(held)):
            say(text)

    def sorted(self, rows: Iterable[Row]) -> list[Row]:
        """In the order that was asked for; the order given where none was."""
        wanted, held = self.options.sort, list(rows)
        if not wanted:
            return held
        column = _named(self.columns, wanted.removeprefix("-"))
        there = [row for row in held if column.value(row) is not None]
        nothing = [row for row in held if column.value(row) is None]
        there.sort(key=lambda row: natural_order(column.value(row)), reverse=wanted.startswith("-"))
        return there + nothing

    def text(self, rows: Sequence[Row]) -> Iterator[str]:
        """The lines."""
        columns = self._chosen(rows)
        if self.options.output == NAME:
            # An image is on many hosts, and its name is to be copied once.
            yield from dict.fromkeys(plain_texts(columns[0], rows))
        elif self.options.output == CSV:
            yield from self._csv(columns, rows)
        else:
            yield from self._table(columns, rows)

    def _chosen(self, rows: Sequence[Row]) -> Sequence[Column[Row]]:
        """Those that were named; else those that have something to show."""
        if self.options.output == NAME:
            return self.columns[:1] if not self.options.columns else self._named_ones()
        if self.options.columns:
            return self._named_ones()
        if self.options.output in (CSV, WIDE):
            return self.columns
        return [
            one
            for one in self.columns
            if not (one.spare and self.width is None)
            and (not one.rank or any(one.value(row) not in (None, "") for row in rows))
        ]

    def _named_ones(self) -> list[Column[Row]]:
        return [_named(self.columns, name) for name in self.options.columns]

    def _csv(self, columns: Sequence[Column[Row]], rows: Sequence[Row]) -> Iterator[str]:
        import csv
        import io

        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        if self.options.headers and self._headed is None:
            writer.writerow([one.key for one in columns])
        self._headed = ()
        writer.writerows(zip(*(plain_texts(one, rows) for one in columns), strict=True))
        if text := buffer.getvalue():
            yield text.removesuffix("\n")

    def _table(self, columns: Sequence[Column[Row]], rows: Sequence[Row]) -> Iterator[str]:
        whole, now = self.options.output == WIDE, self.clock()
        named = bool(self.options.columns) or whole
        shapes = [shape_of(one, named=named) for one in columns]
        cells = [cell_texts(one, rows, now, whole=whole) for one in columns]
        layout = fitted(shapes, cells, None if named else self.width)
        if self.options.headers and self._headed != (headed := self._places(columns, layout)):
            self._headed = headed
            (head,) = lines(shapes, [[one.name] for one in columns], layout)
            yield "  ".join(head).rstrip()
        shades = [columns[at].colour if self.colours else None for at in layout.kept]
        for row, line in zip(rows, lines(shapes, cells, layout), strict=True):
            if any(shades):
                line = tuple(map(_styled, line, shades, [row] * len(line)))
            yield "  ".join(line).rstrip()

    def _places(self, columns: Sequence[Column[Row]], layout: Layout) -> tuple[int, ...]:
        return tuple(self.columns.index(columns[at]) for at in layout.kept)


def say_list(answer: ListAnswer[Row], options: ListOptions) -> None:
    """Prints a list that is there as a whole. Raises Misuse."""
    if options.of_document:
        say_document(answer.document(), options.output)
        return
    if not answer.rows and options.output in (TABLE, WIDE):
        say(answer.empty)
    else:
        Listing(answer.columns, options).say(answer.rows)
    if answer.remark:
        note(answer.remark)


def say_document(document: Any, output: str) -> None:
    """A JSON value as JSON, as YAML, or what an expression finds in it. Raises Misuse."""
    if output == JSON:
        say_json(document)
    elif output == YAML:
        say(yaml_text(document))
    else:
        for found in _found(document, output.partition("=")[2]):
            say(found if isinstance(found, str) else json.dumps(found))


def _found(document: Any, expression: str) -> list[Any]:
    """By RFC 9535; the braces that kubectl wants may be around it, and $ may be left out."""
    import jsonpath

    inner = expression.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1].strip()
    path = inner if inner.startswith("$") else f"${inner if inner[:1] in '.[' else '.' + inner}"
    try:
        return list(jsonpath.findall(path, document))
    except jsonpath.JSONPathError as error:
        sentence = str(error).splitlines()[0]
        raise Misuse(f"{expression[:80]!r} is no JSONPath: {sentence}") from error


def _named(columns: Sequence[Column[Row]], name: str) -> Column[Row]:
    wanted = name.strip().lower().replace("-", "_").replace(" ", "_")
    for one in columns:
        if one.key == wanted:
            return one
    there = ", ".join(one.key for one in columns)
    raise Misuse(f"there is no column {name[:40]!r}; there are {there}")


def natural_order(value: Value) -> tuple[Any, ...]:
    """h2 before h10."""
    if not isinstance(value, str):
        return (value,)
    parts = re.split(r"([0-9]+)", value)
    return tuple((int(one), "") if one.isdecimal() else (-1, one.lower()) for one in parts)


def shape_of(one: Column[Row], *, named: bool) -> Shape:
    """`named`: it was asked for, and so is not left out first."""
    text = one.kind is Kind.TEXT
    spare = one.spare and not named
    return Shape(one.name, one.rank, one.to_the_right, text, spare, one.least, one.readable)


def _styled(text: str, colour: Callable[[Row], str | None] | None, row: Row) -> str:
    shown = colour(row) if colour else None
    return click.style(text, fg=shown) if shown else text


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str | int]],
    indent: str = "",
    width: int | None = None,
) -> str:
    """Values in columns within a text. A column is one of numbers when its first value is, and the
    last one is shortened first."""
    held = [list(row) for row in rows]

    def column(at: int) -> Column[list[str | int]]:
        number = bool(held) and isinstance(held[0][at], int)
        return Column(headers[at], lambda row: row[at], Kind.NUMBER if number else Kind.TEXT)

    columns = [column(at) for at in range(len(headers))]
    room = None if width is None else width - len(indent)
    listing = Listing(columns, width=room)
    return "\n".join(f"{indent}{line}".rstrip() for line in listing.text(held))
