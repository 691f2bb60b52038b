"""Lists that are fetched page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from fleetctl.output import number


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


def more_text(shown: int, last: Page) -> str:
    """How to go on, where the last page that is shown is not the last one; else empty."""
    if not last.next_cursor:
        return ""
    return (
        f"{number(shown)} of {number(last.matching)}; go on with "
        f"--cursor '{last.next_cursor}', or see --all"
    )
