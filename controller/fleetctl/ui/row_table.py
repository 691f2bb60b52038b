"""The rows of a pane on the screen: as many as it has lines, wherever in the list they are."""

from __future__ import annotations

import os
import time
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from fleetctl.outcome import one_line
from fleetctl.tables.grid import Cell, Grid
from fleetctl.ui.panes import Pane

GAP = "  "
_HEAD, _CHOSEN, _MISSING = Style(bold=True), Style(reverse=True), Style(dim=True)


class RowTable(Widget):
    """Its first line is the header. Nothing of the list is held here but what is in view."""

    can_focus = True

    def __init__(self, pane: Pane) -> None:
        super().__init__()
        self.pane = pane
        self._grid: Grid[Any] = Grid(pane.rows.columns)
        self._lines: list[Strip] = []
        self._name = ""  # of the row that is chosen, where it is known
        self._broken = False  # whether the rows in view cannot be drawn

    @property
    def lines(self) -> int:
        """Rows that are in view at most."""
        return max(1, self.size.height - 1)

    @property
    def view(self) -> tuple[int, int]:
        """The first row in view, and how many there may be."""
        return self.pane.top, self.lines

    @property
    def chosen(self) -> Any:
        """None: there is none, or it is not there yet, or cannot be shown."""
        return None if self._broken else self.pane.rows.row(self.pane.at)

    def show_pane(self, pane: Pane) -> None:
        self.pane = pane
        self.other_list()

    def other_list(self) -> None:
        """The pane's list was filtered, sorted, or is of another fleet."""
        self._grid.forget()
        self._name = ""
        self.draw()

    def move_to(self, at: int) -> None:
        """Chooses a row, and brings it into view."""
        pane = self.pane
        pane.at = max(0, min(at, pane.rows.total - 1))
        self._name = ""
        self.draw()

    def move_by(self, rows: int) -> None:
        self.move_to(self.pane.at + rows)

    def draw(self) -> None:
        """From what the list has now. A row that was chosen stays so where it has moved. What
        cannot be drawn takes this pane away and no other."""
        self._broken = False
        try:
            self._draw()
        except Exception as error:
            if os.environ.get("MEGAFLEET_DEBUG"):
                raise
            said = f"these rows cannot be shown: {type(error).__name__}: {one_line(str(error))}"
            self._lines, self._broken = [self._strip([Cell(said)], _HEAD)], True
        self.refresh()

    def _draw(self) -> None:
        pane, rows = self.pane, self.pane.rows
        pane.at = max(0, min(self._place(), rows.total - 1))
        pane.top = max(0, min(pane.top, pane.at, rows.total - self.lines))
        pane.top = max(pane.top, pane.at - self.lines + 1)
        first, count = self.view
        here = [rows.row(at) for at in range(first, min(first + count, rows.total))]
        self._grid.columns, self._grid.sort = rows.columns, rows.sort
        there = [one for one in here if one is not None]
        head, cells = self._grid.cells(there, self.size.width, time.time())
        drawn = iter(cells)
        self._lines = [self._strip([Cell(text) for text in head], _HEAD)]
        for at, one in enumerate(here, first):
            line = [Cell("...")] if one is None else next(drawn)
            style = _CHOSEN if at == pane.at else _MISSING if one is None else None
            self._lines.append(self._strip(line, style))
        if not rows.total:
            self._lines.append(self._strip([Cell(self._nothing())], _MISSING))
        chosen = self.chosen
        self._name = pane.name_of(chosen) if chosen is not None else ""

    def on_resize(self) -> None:
        self._grid.forget()
        self.draw()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        line = self._lines[y] if y < len(self._lines) else Strip.blank(width)
        return line.adjust_cell_length(width)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return container.height

    def _place(self) -> int:
        """Of the row that is chosen, after rows before it came or went. Of a list that is not held
        as a whole it is the same place."""
        pane = self.pane
        here = pane.rows.row(pane.at)
        if pane.rows.top_is_newest and not pane.at and not pane.rows.sort:
            return 0
        if not self._name or (here is not None and pane.name_of(here) == self._name):
            return pane.at
        for at in range(pane.rows.total if pane.rows.held_whole else 0):
            if pane.name_of(pane.rows.row(at)) == self._name:
                return at
        return pane.at

    def _nothing(self) -> str:
        rows = self.pane.rows
        if not rows.known:
            return "asking the controller ..."
        return f"no {self.pane.name} that match" if rows.filter else f"no {self.pane.name}"

    def _strip(self, cells: list[Cell], style: Style | None) -> Strip:
        """`style`: of the whole line, instead of the colours of its cells."""
        parts = []
        for at, cell in enumerate(cells):
            own = style or (Style(color=cell.colour) if cell.colour else None)
            parts.append(Segment(cell.text + (GAP if at + 1 < len(cells) else ""), own))
        line = Strip(parts)
        return line.extend_cell_length(self.size.width, style) if style is _CHOSEN else line
