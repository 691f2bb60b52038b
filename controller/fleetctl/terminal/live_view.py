"""What keys do to a live screen: leave, pause, scroll, filter. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from fleetctl.terminal.keyboard import (
    BACKSPACE,
    DOWN,
    END,
    ENTER,
    ESCAPE,
    HOME,
    PAGE_DOWN,
    PAGE_UP,
    UP,
)

Line = TypeVar("Line")
LONGEST = 80  # of a filter


@dataclass(slots=True)
class LiveView:
    """`first`: of all lines the first that is to be shown; `shown`: how many are; `all`: how many
    there are."""

    keys: bool = True  # whether there is a keyboard
    paused: bool = False
    filter: str = ""
    typing: bool = False
    first: int = 0
    shown: int = 1
    all: int = 0

    def press(self, key: str) -> bool:
        """Whether it leaves."""
        if self.typing:
            self._type(key)
            return False
        if key == "/":
            self.typing = True
        elif key == " ":
            self.paused = not self.paused
        elif key == ESCAPE:
            self.filter = ""
        else:
            self._scroll(key)
        return key == "q"

    def part(self, lines: Sequence[Line], room: int) -> Sequence[Line]:
        """Those that are shown where there is room for so many."""
        self.shown, self.all = max(1, room), len(lines)
        return lines[self.at : self.at + self.shown]

    @property
    def at(self) -> int:
        """The first line that is shown: more than there are may come yet, as `first` wants."""
        return max(0, min(self.first, self.all - self.shown))

    def lets_through(self, text: str) -> bool:
        return self.filter.casefold() in text.casefold()

    def hint(self, more: str = "") -> str:
        """The last line: what is typed, or which keys there are."""
        if not self.keys:
            return "Ctrl-C leaves"
        if self.typing:
            return f"/{self.filter}_   enter keeps it, escape ends it"
        said = [
            "paused: space goes on" if self.paused else "",
            f"/{self.filter}" if self.filter else "",
            f"{self.at + 1}-{self.at + min(self.shown, self.all)} of {self.all}"
            if self.all > self.shown
            else "",
            f"q leaves, space pauses, arrows scroll, / filters{more}",
        ]
        return "   ".join(filter(None, said))

    def _type(self, key: str) -> None:
        if key == ESCAPE:
            self.filter, self.typing = "", False
        elif key == ENTER:
            self.typing = False
        elif key == BACKSPACE:
            self.filter = self.filter[:-1]
        elif len(key) == 1 and len(self.filter) < LONGEST:
            self.filter += key
        self.first = 0

    def _scroll(self, key: str) -> None:
        by = {UP: -1, "k": -1, DOWN: 1, "j": 1, PAGE_UP: -self.shown, PAGE_DOWN: self.shown}
        if key in by:
            self.first = max(0, min(self.at + by[key], self.all))
        elif key in (HOME, "g"):
            self.first = 0
        elif key in (END, "G"):
            self.first = self.all
