"""`fleetctl ui` at a million VMs: how soon its first screen is there, how soon another place of the
list is, and what it holds in memory. A process on a terminal of its own each time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.cluster_under_test import FLEETCTL, ClusterUnderTest, cpu_seconds
from tests.bench.measures import SAMPLE, Measured
from tests.processes.screen_terminal import ScreenTerminal

_REPEATS = 7
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
_COLUMNS, _LINES = 120, 40


def screen(home: Path, hosts: int, say: Callable[[str], None], out: Measured) -> None:
    """The rows of the screen, from a sandbox of its own."""
    total = min(1_000_000, hosts * 250 * 25 // 28)
    with ClusterUnderTest(home / "screen", hosts).running() as under:
        under.fleetctl("apply", "-f", str(SAMPLE))
        under.scale("spv", total)
        say(f"a screen over {total:,} VMs")
        screen_of(under, total, out)


def screen_of(under: ClusterUnderTest, total: int, out: Measured) -> None:
    """Of one that runs, whose fleet spv has so many VMs."""
    opened = [_opened(under, "fleets", f"{total:,}") for _ in range(_REPEATS)]
    rows = [_opened(under, "vms", f"1 of {total:,}", "spv-0 ") for _ in range(_REPEATS)]
    what = f"ui: first screen at {total:,} VMs"
    out.add(what, statistics.median(one for one, _ in opened), "s", 0.8, 0.4)
    out.add(f"{what}, their pane", statistics.median(one for one, _ in rows), "s", 0.8, 0.4)
    out.notes["ui_first_screen_cpu_seconds"] = round(statistics.median(c for _, c in opened), 3)
    with _terminal(under, "vms") as shown:
        shown.until_shown("OK", "spv-0 ")
        jumps = [_took(shown, key, text) for key, text in _places(total)]
        out.add("ui: another place among them is shown", statistics.median(jumps), "s", 0.3, 0.1)
        for pane, text in (("1", "golden"), ("2", f"of {under.hosts:,}"), ("4", "KIND"), ("3", "")):
            shown.press(pane)
            shown.until_shown(text or f"of {total:,}")
        out.add("ui: memory at most, all panes seen", _most_mib(shown.process.pid), "MiB", 150, 100)
        shown.press("q")
        shown.ended()


def _places(total: int) -> list[tuple[str, str]]:
    """Keys, and what is shown then."""
    end, page = ("\x1b[F", f"spv-{total - 1} "), "\x1b[5~"
    sorts = [
        ("s", "INDEX↑"),
        ("s", "STATE↑"),
        ("S", "STATE↓"),
        ("s", "HOST↑"),
        ("s", "GENERATION↑"),
    ]
    return [end, ("\x1b[H", "spv-0 "), end, (page, "spv-"), ("\x1b[H", "spv-0 "), *sorts]


def _took(shown: ScreenTerminal, key: str, text: str) -> float:
    began = time.monotonic()
    shown.press(key)
    shown.until(lambda now: text in now and "..." not in now and "asking" not in now, text)
    return time.monotonic() - began


def _opened(under: ClusterUnderTest, pane: str, *texts: str) -> tuple[float, float]:
    """Seconds until rows and the cluster's state are there, and those of its CPU."""
    with _terminal(under, pane) as shown:
        seconds = shown.until_shown("VMs running", *texts)
        spent = cpu_seconds(shown.process.pid)
        shown.press("q")
        shown.ended()
        return seconds, spent


def _terminal(under: ClusterUnderTest, pane: str) -> ScreenTerminal:
    environment = {k: v for k, v in under.environment.items() if k != _NO_BYTECODE}
    return ScreenTerminal([str(FLEETCTL), "ui", pane], environment, _COLUMNS, _LINES)


def _most_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
