"""The live screen of `top`: sums above, as many domains below as the terminal has lines."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.text import Text

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.terminal.live_screen import LiveScreen
from fleetctl.views.vms.top import domains_text, fleet_line, silent_line, summary_line

REFRESH_PER_SECOND = 4
# Fleets that are shown; `--once` shows all of them.
MAX_FLEETS = 4
# Lines that are no domain's: summary, fleets, silent hosts, headers, the last one, spaces.
_OTHER_LINES = 4


class LiveTop(LiveScreen):
    """Draws the last sample."""

    def __init__(self, console: Console | None = None) -> None:
        self._sample: cluster.ClusterTopSample | None = None
        super().__init__(console, REFRESH_PER_SECOND)

    @property
    def rows(self) -> int:
        """Domains that may be on the screen at most."""
        return max(1, self._console.height - _OTHER_LINES)

    def show(self, sample: cluster.ClusterTopSample) -> None:
        self._sample = sample

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
        below.append(_line("Ctrl-C leaves", "bright_black"))
        room = max(1, self._console.height - len(above) - len(below) - 3)
        head, *rows = domains_text(sample.domains[:room], self._console.width).split("\n")
        return Group(*above, Text(""), _line(head, "bold"), *(_line(row) for row in rows), *below)


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
