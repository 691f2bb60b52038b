"""The lines above and below the rows, as texts. Pure."""

from __future__ import annotations

from rich.text import Text

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.output import BAD, DOUBTFUL, GOOD, number
from fleetctl.tables.layout import shortened
from fleetctl.ui.panes import NAMES, Pane
from fleetctl.views.cluster.health_check import Level, verdict_of

LEAST_WIDTH, LEAST_HEIGHT = 40, 8
KEYS = ("/ filter", "s S sort", "enter details", "q leave")
HELP = """\
1 ... 5, tab      fleets, hosts, VMs, events, problems
arrows, j k       the row before, the row behind
page, home, end   a screen further; the first, the last
/                 filter: part of what a row says. Of VMs: failed, stopped, 0-99, spv-7,
                  host=h1, rack=r7 (a label of hosts), several of them; escape ends it
s  S              sort by the next column; the other way round
enter             details of the row
v                 fleets, hosts: their VMs
d  D              hosts: drain, with the question that the command asks; end the drain
c  u              hosts: cordon, uncordon.  VMs: c opens the console, Ctrl-] leaves it
f                 VMs: of the next fleet
r                 look again now
q, Ctrl-C         leave"""

_COLOURS = {Level.OK: GOOD, Level.WARNING: DOUBTFUL, Level.CRITICAL: BAD, Level.UNKNOWN: BAD}


def too_small(width: int, height: int) -> str:
    """Empty where there is room."""
    if width >= LEAST_WIDTH and height >= LEAST_HEIGHT:
        return ""
    return f"too small: {LEAST_WIDTH} columns and {LEAST_HEIGHT} lines are needed; q leaves"


def head_lines(
    pane: Pane, status: cluster.StatusResponse | None, where: str, width: int, now: float
) -> Text:
    """The panes, and how the cluster stands. `now`: seconds since 1970."""
    tabs = Text()
    for at, name in enumerate(NAMES, 1):
        tabs.append(f" {at} {name} ", style="reverse bold" if name == pane.name else "")
    if pane.rows.title:
        tabs.append(f" {pane.rows.title}")
    tabs = _beside(tabs, Text(where, style="bright_black"), width)
    if status is None:
        return tabs.append("\n asking the controller ...", style="bright_black")
    verdict = verdict_of(status, now)
    tabs.append(f"\n {verdict.level.name} ", style=f"bold {_COLOURS[verdict.level]}")
    said = verdict.summary
    if verdict.reasons:
        more = len(verdict.reasons) - 1
        said += f"; {verdict.reasons[0].text}" + (f"; {more} more" if more else "")
    return tabs.append(shortened(said, max(1, width - len(verdict.level.name) - 3)))


def foot_lines(pane: Pane, said: Text, width: int) -> Text:
    """What is to be said, where in the list one is, and keys."""
    rows = pane.rows
    where = f"{number(pane.at + 1)} of {number(rows.total)}" if rows.total else ""
    if rows.filter:
        where = f"/{rows.filter}  {where}"
    line = _beside(said, Text(where), width)
    return line.append("\n").append(_keys(pane, width), style="bright_black")


def _keys(pane: Pane, width: int) -> str:
    """Those that have room, the pane's own first."""
    line = "? keys"
    for one in (*pane.keys, *KEYS):
        if len(line) + 2 + len(one) > width:
            break
        line += f"  {one}"
    return line


def _beside(left: Text, right: Text, width: int) -> Text:
    """One line; what stands on the right goes first where both do not fit."""
    line, room = Text().append_text(left), width - left.cell_len - right.cell_len - 1
    if room >= 0:
        return line.append(" " * (room + 1)).append_text(right)
    line.truncate(width, overflow="ellipsis")
    return line
