"""A list that is looked at again and again: in place on a terminal, elsewhere what has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Generic

from rich.console import Console, Group, RenderableType
from rich.text import Text

from fleetctl.outcome import Misuse, Unavailable
from fleetctl.output import note, number, on_screen, say_json_line
from fleetctl.tables.answer import ListAnswer, Told, changed, told_by
from fleetctl.tables.column import Row
from fleetctl.tables.formats import JSON, TABLE, WIDE, ListOptions
from fleetctl.tables.listing import Listing
from fleetctl.terminal.live_screen import LiveScreen
from fleetctl.terminal.progress_viewers import ReachabilityNotes
from megafleet.connection.follow import Reachability, ReachabilityListener

# Seconds between two looks: a list costs the leader what a status costs.
EVERY = 2.0
_OTHER_LINES = 4  # of a screen: header, how many more, why nothing is new, how to leave

Look = Callable[[], ListAnswer[Row]]


Pause = Callable[[float], None]


def watch_list(look: Look[Row], options: ListOptions, pause: Pause = time.sleep) -> None:
    """Until Ctrl-C. Raises Misuse for a format of which no part makes sense by itself."""
    if options.of_document and options.output != JSON:
        raise Misuse("--watch prints as table, wide, csv, name or json")
    try:
        if on_screen() and options.output in (TABLE, WIDE):
            _live(look, options, pause)
        else:
            _lines(look, options, pause)
    except KeyboardInterrupt:
        return


def _looks(
    look: Look[Row], listener: ReachabilityListener, pause: Pause
) -> Iterator[ListAnswer[Row]]:
    """Over failovers, for as long as somebody asks."""
    reachability = Reachability(listener)
    while True:
        try:
            answer = look()
        except Unavailable as trouble:
            reachability.failed(trouble.message)
        else:
            reachability.answered()
            yield answer
        pause(EVERY)


def _live(look: Look[Row], options: ListOptions, pause: Pause) -> None:
    shown: LiveList[Row] = LiveList(options)
    with shown.live:
        for answer in _looks(look, shown, pause):
            shown.show(answer)


def _lines(look: Look[Row], options: ListOptions, pause: Pause) -> None:
    before: Told | None = None
    listing: Listing[Row] | None = None
    for answer in _looks(look, ReachabilityNotes(), pause):
        rows, gone = changed(answer, before or {})
        if options.output == JSON:
            if rows or gone or before is None:
                say_json_line(answer.document())
        else:
            listing = listing or Listing(answer.columns, options)
            if rows:
                listing.columns = answer.columns
                listing.say(rows)
            elif before is None:
                note(answer.empty)
            if gone:
                note(f"no longer listed: {', '.join(str(one) for one in gone)}")
        before = told_by(answer)


class LiveList(LiveScreen, Generic[Row]):
    """Draws the last look, as much of it as the terminal has lines."""

    def __init__(self, options: ListOptions, console: Console | None = None) -> None:
        self._options = options
        self._answer: ListAnswer[Row] | None = None
        super().__init__(console, per_second=4)

    def show(self, answer: ListAnswer[Row]) -> None:
        self._answer = answer

    def _render(self) -> RenderableType:
        return Group(*(Text.from_ansi(line, no_wrap=True) for line in self._text()))

    def _text(self) -> Iterator[str]:
        if self._answer is None:
            yield self._still_waiting or "waiting for the list ..."
            return
        room = max(1, self._console.height - _OTHER_LINES)
        listing = Listing(self._answer.columns, self._options, self._console.width)
        rows = listing.sorted(self._answer.rows)
        yield from listing.text(rows[:room]) if rows else (self._answer.empty,)
        if more := len(rows) - len(rows[:room]):
            yield f"and {number(more)} more"
        elif self._answer.remark:
            yield self._answer.remark
        if self._still_waiting:
            yield self._still_waiting
        yield "Ctrl-C leaves"
