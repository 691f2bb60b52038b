"""The live display on a terminal: a bar of states, counts, pace, and what goes wrong.

Drawn by rich, a few times a second, from the last status; nothing here waits for a controller.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.text import Text

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import printable
from fleetctl.output import STATE_STYLES, STATES, counted, duration, number, pace_text
from fleetctl.terminal.live_screen import LiveScreen
from fleetctl.views.cluster.status import settling_text
from fleetctl.views.fleets.budgets import budget_lines
from fleetctl.views.fleets.fleet_status import remarks_of, states_of, unplaced_text, verdict
from fleetctl.views.fleets.rebalances import status_text
from fleetctl.views.fleets.rollouts import rollout_text
from fleetctl.views.hosts.drains import drain_lines
from fleetctl.views.hosts.image_fetches import fetches_text
from fleetctl.views.hosts.loss import breaker_text
from megafleet.progress import ChangeProgress

REFRESH_PER_SECOND = 10
MAX_BAR = 100
MAX_PROBLEMS = 4
# A state's name, its count, and what parts it from the next.
_CELL = 20
# Of hosts: shown where there are any.
_SELDOM = ("draining", "quarantined", "cut off", "distrusted", "expelled", "take no orders")
# From the one that is most done, so that the bar grows from the left.
BAR_ORDER = (
    "running", "booting", "defined", "cloning", "stopping", "failed", "unknown", "pending"
)  # fmt: skip


class LiveScale(LiveScreen):
    """A ProgressViewer that draws a change of one fleet until the block ends."""

    def __init__(self, console: Console | None = None) -> None:
        self._seen: tuple[cluster.StatusResponse, ChangeProgress] | None = None
        self._whole = 0
        super().__init__(console, REFRESH_PER_SECOND)

    def __enter__(self) -> LiveScale:
        self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.stop()

    def show(self, response: cluster.StatusResponse, progress: ChangeProgress, now: float) -> None:
        self._seen = response, progress

    def _render(self) -> RenderableType:
        if not self._seen:
            return Text("waiting for the first status ...", style="bright_black")
        response, progress = self._seen
        status = response.fleets[0]
        self._whole = max(self._whole, status.total + status.releasing)
        width = min(MAX_BAR, self._console.width - 2)
        lines = [
            _title(status, f"{progress.fraction:.1%}", width),
            bar(status, self._whole, width),
            *_states(status, width),
            _pace(response, progress, time.monotonic()),
            *_problems(status),
        ]
        if self._still_waiting:
            lines.append(Text(self._still_waiting, style="yellow"))
        return Group(*(_indented(line) for line in lines))


FROZEN = "changes are frozen; VMs go on as they are: fleetctl recover --plan"


class LiveStatus(LiveScreen):
    """Draws all fleets and hosts, for `watch`."""

    def __init__(self, console: Console | None = None) -> None:
        self._response: cluster.StatusResponse | None = None
        super().__init__(console, REFRESH_PER_SECOND)

    def show(self, response: cluster.StatusResponse) -> None:
        if not self.view.paused:
            self._response = response

    def _render(self) -> RenderableType:
        if not self._response:
            return Text(self._trouble or "waiting for the first status ...", style="bright_black")
        lines = self._lines(self._response, self._console.width - 2)
        below = list(self._alarm(self._still_waiting, "yellow")) if self._still_waiting else []
        below.append(Text(self.view.hint(), style="bright_black"))
        room = self._console.height - len(below) - 1
        return Group(*(_indented(line) for line in (*self.view.part(lines, room), *below)))

    def _lines(self, response: cluster.StatusResponse, width: int) -> list[Text]:
        """All of it, whatever the terminal has room for."""
        frozen = response.HasField("freeze")
        lines: list[Text] = []
        if frozen:
            lines += [*self._alarm(FROZEN, "bold red"), Text("")]
        if settling := settling_text(response):
            lines += [*self._alarm(settling, "yellow"), Text("")]
        for status in response.fleets:
            if self.view.lets_through(status.fleet):
                lines += _fleet(status, frozen, width)
        if not response.fleets:
            lines += [Text("no fleets", style="bright_black"), Text("")]
        lines += _hosts(response, width)
        drains = (one for one in drain_lines(response) if self.view.lets_through(one))
        lines += [Text(f"! drain {one}", style="yellow") for one in drains]
        budgets = (one for one in budget_lines(response) if self.view.lets_through(one))
        lines += [Text(f"  budget {one}") for one in budgets]
        if text := breaker_text(response):
            lines += self._alarm(f"! breaker {text}", "red")
        return lines

    def _alarm(self, text: str, style: str) -> Iterable[Text]:
        """In as many lines as it takes: its end is what there is to do."""
        return Text(text, style=style).wrap(self._console, max(20, self._console.width - 2))


def _fleet(status: cluster.FleetStatus, frozen: bool, width: int) -> Iterable[Text]:
    word, colour = verdict(status, frozen)
    yield _title(status, word, width, colour)
    yield bar(status, max(1, status.total + status.releasing), width)
    yield from _states(status, width)
    yield from _remarks(status)
    yield from _problems(status)
    yield Text("")


def _indented(line: Text) -> Text:
    """One space from the edge, and never wrapped."""
    shifted = Text(" ", no_wrap=True, overflow="ellipsis")
    return shifted.append_text(line)


def _title(status: cluster.FleetStatus, right: str, width: int, colour: str = "bold") -> Text:
    left = Text(status.fleet, style="bold")
    left.append(f"  {number(status.total)} VMs wanted", style="default not bold")
    left.append(" " * max(1, width - left.cell_len - len(right)))
    return left.append(right, style=colour)


def bar(status: cluster.FleetStatus, whole: int, width: int) -> Text:
    """All VMs of a fleet, each state by its share and colour; grey: not there yet, or gone."""
    counts = states_of(status)
    counts["stopping"] = max(counts["stopping"], status.releasing)
    cells = shares(counts, max(whole, sum(counts.values()), 1), width)
    drawn = Text()
    for name, length in cells.items():
        style = STATE_STYLES[name]
        drawn.append("━" * length, style="grey23" if name == "pending" else style)
    return drawn.append("━" * (width - drawn.cell_len), style="grey23")


def shares(counts: Mapping[str, int], whole: int, width: int) -> dict[str, int]:
    """How many cells of a bar each state fills; together never more than the bar has."""
    filled = reached = 0
    cells = {}
    for name in BAR_ORDER:
        reached += counts[name]
        end = reached * width // whole
        cells[name] = end - filled
        filled = end
    return cells


def _states(status: cluster.FleetStatus, width: int) -> Iterable[Text]:
    """Two rows of four states in 80 columns, one where all have room, more in fewer columns, at
    fixed places so that nothing jumps."""
    counts = states_of(status)
    fitting = max(1, (width + 2) // _CELL)
    abreast = len(STATES) if fitting >= len(STATES) else min(4, fitting)
    for row in (STATES[at : at + abreast] for at in range(0, len(STATES), abreast)):
        line = Text()
        for name in row:
            style = STATE_STYLES[name] if counts[name] else "grey42"
            line.append("  " if line else "")
            line.append(f"{name:<8} ", style=style)
            line.append(f"{number(counts[name]):>9}", style="default" if counts[name] else style)
        yield line


def _pace(response: cluster.StatusResponse, progress: ChangeProgress, now: float) -> Text:
    """Rate and time of what goes on; over all of it once it is done."""
    hosts, rest = response.hosts, progress.ends_in()
    over = progress.seen_at if not progress.remaining else now
    elapsed = progress.elapsed(over)
    rate = progress.rate() if progress.remaining else progress.done / max(elapsed, 0.001)
    parts = [
        pace_text(rate),
        f"hosts ready {number(hosts.converged)} of {number(hosts.live)}",
        f"elapsed {duration(elapsed)}",
    ]
    if progress.remaining and rest is not None:
        parts.append(f"ends in about {duration(rest)}")
    if response.fleets[0].releasing:
        parts.append(f"{number(response.fleets[0].releasing)} to be released")
    return Text("  ".join(parts), style="bold")


def _hosts(response: cluster.StatusResponse, width: int) -> Iterable[Text]:
    hosts = response.hosts
    line = Text("hosts  ", style="bold")
    for name, count, colour in (
        ("live", hosts.live, "green"),
        ("ready", hosts.converged, "green"),
        ("unreachable", hosts.unreachable, "yellow"),
        ("suspect", hosts.suspect, "yellow"),
        ("lost", hosts.lost, "red"),
        ("cordoned", hosts.cordoned, "cyan"),
        ("draining", hosts.draining, "cyan"),
        ("quarantined", hosts.quarantined, "red"),
        ("cut off", hosts.cut_off, "red"),
        ("distrusted", hosts.distrusted, "red"),
        ("expelled", hosts.expelled, "red"),
        ("take no orders", hosts.orders_refused, "red"),
    ):
        if not count and name in _SELDOM:
            continue
        cell = f"{number(count)} {name}"
        if line.cell_len + len(cell) > width:
            line.rstrip()
            yield line
            line = Text(" " * 7)
        line.append(f"{cell}   ", style=colour if count else "grey42")
    line.rstrip()
    yield line


def _remarks(status: cluster.FleetStatus) -> Iterable[Text]:
    """What states do not tell, where there is any of it, and a rollout that is not over."""
    if remarks := remarks_of(status):
        yield Text(", ".join(remarks))
    if fetches := fetches_text(status):
        yield Text(fetches)
    if status.HasField("rollout") and status.rollout.state != "done":
        yield Text(printable(f"rollout {rollout_text(status.rollout)}"))
    if status.HasField("rebalance"):
        yield Text(f"rebalance {status_text(status.rebalance)}")


def _problems(status: cluster.FleetStatus) -> Iterable[Text]:
    for one in status.problems[:MAX_PROBLEMS]:
        where = f"{counted(one.count, 'VM')} on {counted(one.hosts, 'host')}"
        yield Text(printable(f"! {one.kind}: {where}: {one.example}"), style="red")
    for reason in status.unplaced_reasons[:MAX_PROBLEMS]:
        yield Text(f"! {unplaced_text(reason)}", style="red")
