"""A part of a list as a screen shows it, cell by cell: rows come and go, and columns stay where
they are. Pure: rows and a width in, cells out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic

from fleetctl.tables.column import NOTHING, Column, Row, cell_text
from fleetctl.tables.layout import fitted, lines, text_width
from fleetctl.tables.listing import shape_of

# Behind the header of the column that the rows are sorted by.
UP, DOWN = "↑", "↓"


@dataclass(frozen=True, slots=True)
class Cell:
    """Padded to its column's width; `colour` is None where it has none."""

    text: str
    colour: str | None = None


@dataclass(slots=True)
class Grid(Generic[Row]):
    """Lays out the rows that are in view. A column is as wide as the widest that was in view since
    `forget`, so that nothing jumps while somebody scrolls."""

    columns: Sequence[Column[Row]]
    sort: str = ""  # the key of a column; with - before it from above
    _widest: dict[str, str] = field(default_factory=dict)

    def forget(self) -> None:
        """What is in view from now on is another list."""
        self._widest.clear()

    def cells(
        self, rows: Sequence[Row], width: int, now: float
    ) -> tuple[list[str], list[list[Cell]]]:
        """The header, and each row. `now`: seconds since 1970."""
        texts = {
            one.key: [cell_text(one, one.value(row), now, whole=False) for row in rows]
            for one in self.columns
        }
        for one in self.columns:
            self._remember(one, texts[one.key])
        shown = [one for one in self.columns if not one.rank or one.key in self._widest]
        shapes = [shape_of(one, named=False) for one in shown]
        heads = [self._head(one) for one in shown]
        held = [
            [*texts[one.key], self._widest.get(one.key, ""), head]
            for one, head in zip(shown, heads, strict=True)
        ]
        layout = fitted(shapes, held, width)
        *padded, _, head = lines(shapes, held, layout)
        colours = [shown[at].colour for at in layout.kept]
        drawn = [
            [
                Cell(text, colour(row) if colour else None)
                for text, colour in zip(line, colours, strict=True)
            ]
            for row, line in zip(rows, padded, strict=True)
        ]
        return list(head), drawn

    def _remember(self, column: Column[Row], texts: Sequence[str]) -> None:
        """Columns of a rank above 0 are shown once there is something in them."""
        for text in texts:
            if text in ("", NOTHING) and column.rank:
                continue
            if text_width(text) > text_width(self._widest.get(column.key, "")):
                self._widest[column.key] = text

    def _head(self, column: Column[Row]) -> str:
        if column.key != self.sort.removeprefix("-"):
            return column.name
        return column.name + (DOWN if self.sort.startswith("-") else UP)
