"""The live screen of `top`: sums above, as many domains below as the terminal has lines."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.text import Text

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.terminal.live_screen import LiveScreen
from fleetctl.views.vms.top import (
    ORDERS,
    domains_text,
    fleet_line,
    ordered,
    silent_line,
    summary_line,
)

REFRESH_PER_SECOND = 4
# Fleets that are shown; `--once` shows all of them.
MAX_FLEETS = 4
# Lines that are no domain's: summary, fleets, silent hosts, headers, the last one, spaces.
_OTHER_LINES = 4


class LiveTop(LiveScreen):
    """Draws the last sample. `order`: what its domains are sorted by; the next sample is asked for
    by it, and with as many domains as were scrolled to."""

    def __init__(self, order: str, most: int, console: Console | None = None) -> None:
        self._sample: cluster.ClusterTopSample | None = None
        self.order = order
        self._most = most
        super().__init__(console, REFRESH_PER_SECOND)

    @property
    def wanted(self) -> tuple[str, int]:
        """The order, and how many domains: each costs every host one, so not more than are to be
        seen. Of those that are filtered all that there may be."""
        rows = max(1, self._console.height - _OTHER_LINES)
        first = self.view.first
        wanted = rows + first + (rows if first else 0)  # the next screen too, once they scroll
        if self.view.filter:
            wanted = self._most
        return self.order, min(self._most, -(-wanted // rows) * rows)

    def show(self, sample: cluster.ClusterTopSample) -> None:
        if not self.view.paused:
            self._sample = sample

    def press(self, key: str) -> bool:
        if key == "s" and not self.view.typing:
            self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        return super().press(key)

    def _render(self) -> RenderableType:
        if self._sample is None:
            return _line(self._trouble or "waiting for the first sample ...", "bright_black")
        sample = self._sample
        above = [_line(summary_line(sample), "bold")]
        above += [_line(fleet_line(one)) for one in sample.fleets[:MAX_FLEETS]]
        below = []
        if sample.silent:
            below.append(_line(silent_line(sample.silent), "yellow"))
        if self._still_waiting:
            below.append(_line(self._still_waiting, "yellow"))
        found = [
            one
            for one in ordered(sample.domains, self.order)
            if self.view.lets_through(f"{one.sample.name} {one.host}")
        ]
        room = max(1, self._console.height - len(above) - len(below) - 4)
        part = self.view.part(found, room)
        below.append(_line(self.view.hint(f", s sorts ({self.order})"), "bright_black"))
        head, *rows = domains_text(part, self._console.width).split("\n")
        return Group(*above, Text(""), _line(head, "bold"), *(_line(row) for row in rows), *below)


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
