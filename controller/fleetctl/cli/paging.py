"""Lists that are fetched page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from fleetctl.output import note, number


class Page(Protocol):
    """An answer that has a part of a list."""

    @property
    def matching(self) -> int:
        """How many there are in all."""

    @property
    def next_cursor(self) -> str:
        """Where the next page begins; empty: there is none."""


P = TypeVar("P", bound=Page)


def pages(fetch: Callable[[str], P], cursor: str) -> Iterator[P]:
    """All pages from this cursor on; empty: from the beginning."""
    while True:
        page = fetch(cursor)
        yield page
        if not (cursor := page.next_cursor):
            return


def note_more(shown: int, last: Page) -> None:
    """Says how to go on, where the last page that is shown is not the last one."""
    if last.next_cursor:
        note(
            f"{number(shown)} of {number(last.matching)}; go on with "
            f"--cursor '{last.next_cursor}', or see --all"
        )
