"""A part of a list on a screen: columns stay where they are while rows come and go."""

from __future__ import annotations

from fleetctl.tables.column import Column, Kind
from fleetctl.tables.grid import Grid

Row = tuple[str, int | None, str]
COLUMNS: tuple[Column[Row], ...] = (
    Column("NAME", lambda row: row[0], Kind.NAME),
    Column("COUNT", lambda row: row[1], Kind.NUMBER, rank=1, colour=lambda row: "red"),
    Column("REASON", lambda row: row[2] or None, rank=2),
)


def texts(grid: Grid[Row], rows: list[Row], width: int = 60) -> list[str]:
    head, cells = grid.cells(rows, width, 0.0)
    return [
        "  ".join(head).rstrip(),
        *("  ".join(one.text for one in row).rstrip() for row in cells),
    ]


def test_columns_are_as_wide_as_what_was_in_view_and_shown_once_they_have_something() -> None:
    grid: Grid[Row] = Grid(COLUMNS)
    assert texts(grid, [("a", None, "")]) == ["NAME", "a"]
    assert texts(grid, [("a-long-name", 7, "")]) == ["NAME         COUNT", "a-long-name      7"]
    assert texts(grid, [("b", None, "")]) == ["NAME         COUNT", "b                -"]
    grid.forget()
    assert texts(grid, [("b", None, "")]) == ["NAME", "b"]


def test_the_sorted_column_says_so_and_cells_have_their_colours() -> None:
    grid: Grid[Row] = Grid(COLUMNS, "-count")
    head, cells = grid.cells([("a", 1, "")], 60, 0.0)
    assert head[1].strip() == "COUNT↓"
    assert [one.colour for one in cells[0]] == [None, "red"]
    grid.sort = "count"
    assert grid.cells([("a", 1, "")], 60, 0.0)[0][1].strip() == "COUNT↑"


def test_nothing_is_wider_than_the_screen_and_steering_characters_are_shown_as_text() -> None:
    grid: Grid[Row] = Grid(COLUMNS)
    lines = texts(grid, [("n", 1, "much \x1b[2J to say " * 9)], 40)
    assert all(len(line) <= 40 and line.isprintable() for line in lines)


def test_without_rows_there_is_a_header() -> None:
    assert texts(Grid(COLUMNS), []) == ["NAME"]
