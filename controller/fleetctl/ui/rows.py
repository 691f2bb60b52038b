"""What a pane lists: the port between the screen and the cluster.

`ask` waits for a controller, on a thread, and changes nothing; `take` has its answer, on the loop
of the screen, and waits for nothing. So the screen is never kept from drawing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic

from fleetctl.outcome import one_line
from fleetctl.tables.column import Column, Row
from fleetctl.tables.formats import ListOptions
from fleetctl.tables.listing import Listing
from megafleet.connection.cluster import Cluster


class RowList(ABC, Generic[Row]):
    """Rows by their place. `sort`: the key of a column, with - before it from above; empty: the
    list's own order. `filter`: as it was typed."""

    columns: Sequence[Column[Row]]
    sort: str = ""
    filter: str = ""
    title: str = ""  # what the list is of, where its name does not say it
    remark: str = ""  # what is to be known of the list besides
    held_whole: bool = False  # whether every row is there at once
    top_is_newest: bool = False  # whoever is at the top stays there when rows come
    known: bool = False  # whether anything was heard of it as it is asked for now

    @property
    @abstractmethod
    def total(self) -> int:
        """How many there are, as far as the filter lets them through."""

    @abstractmethod
    def row(self, at: int) -> Row | None:
        """None: it is not there yet."""

    @abstractmethod
    def ask(self, connection: Cluster, first: int, count: int) -> Any:
        """What a controller answers of the rows from `first` on, which are in view. Raises
        Trouble."""

    @abstractmethod
    def take(self, answer: Any) -> bool:
        """Whether more of the list is to be asked for at once."""

    @abstractmethod
    def set_filter(self, text: str) -> None:
        """Raises Misuse for one that cannot be meant; then the former stays."""

    @abstractmethod
    def set_sort(self, sort: str) -> None:
        """By one of `sortable`, with - before it or without."""

    @property
    def sortable(self) -> Sequence[str]:
        """Keys of the columns that it can be sorted by."""
        return [one.key for one in self.columns if not one.spare]

    def has(self, first: int, count: int) -> bool:
        """Whether all rows that are in view are there."""
        return all(self.row(at) is not None for at in range(first, min(first + count, self.total)))


class HeldList(RowList[Row]):
    """A list that is short enough to be held: it is filtered and sorted here. A filter is a part of
    what any of its columns says."""

    held_whole = True

    def __init__(self, columns: Sequence[Column[Row]]) -> None:
        self.columns = columns
        self._held: Sequence[Row] = ()
        self._shown: Sequence[Row] = ()

    @property
    def total(self) -> int:
        return len(self._shown)

    @property
    def held(self) -> int:
        """How many there are with those that the filter leaves out."""
        return len(self._held)

    def row(self, at: int) -> Row | None:
        return self._shown[at] if 0 <= at < len(self._shown) else None

    def hold(self, rows: Sequence[Row]) -> None:
        """These, and no others."""
        self._held, self.known = rows, True
        self._choose()

    def set_filter(self, text: str) -> None:
        self.filter = text
        self._choose()

    def set_sort(self, sort: str) -> None:
        self.sort = sort
        self._choose()

    def _choose(self) -> None:
        wanted = self.filter.casefold().split()
        rows = [one for one in self._held if not wanted or self._says(one, wanted)]
        self._shown = Listing(self.columns, ListOptions(sort=self.sort), None).sorted(rows)

    def _says(self, row: Row, wanted: Sequence[str]) -> bool:
        """Whether each word is in one of its columns. Moments are told as ages: they are not
        looked at."""
        values = [one.value(row) for one in self.columns]
        text = "\n".join(one_line(one) for one in values if isinstance(one, str)).casefold()
        return all(word in text for word in wanted)
