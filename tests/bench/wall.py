"""What the wall costs the leader beside a scale that nobody watches, and how soon it is drawn."""

from __future__ import annotations

import http.client
import shutil
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from tests.bench.cluster_under_test import ClusterUnderTest, until
from tests.bench.measures import SAMPLE, Measured
from tests.bench.wall_page import DRAW_ALWAYS, page_alone

WALLS = 10
_ROUNDS = 3
_CHANGES = 12
_SETTLE_SECONDS = 2.0
_RUNNING = int(types.VM_STATE_RUNNING)
_READ_BYTES = 4096
# When so many cells are in a state, and drawn.
_MEET = """([state, wanted]) => { window.met = new Promise(done => { const look = () => {
  if (megafleetWall.state().counts[state] < wanted) return requestAnimationFrame(look);
  megafleetWall.redraw(); done(Date.now() / 1000); }; look(); }); }"""


def wall(home: Path, hosts: int, few: int, say: Callable[[str], None], out: Measured) -> None:
    """The rows of the wall. Without Debian's Chromium: a note, and what needs no browser."""
    total = hosts * 250 * 25 // 28
    with ClusterUnderTest(home / "wall", hosts).running() as under:
        under.fleetctl("apply", "-f", str(SAMPLE))
        under.scale("spv", total)  # clones are made once
        _costs(under, total, say, out)
        if chromium := shutil.which("chromium"):
            say("a page in Chromium")
            _draws(under, chromium, total, out)
    if chromium:
        say("the page alone, with played frames")
        page_alone(hosts, chromium, out)
        say(f"from a change to its pixel, {few:,} hosts")
        with ClusterUnderTest(home / "wall-few", few).running() as under:
            under.fleetctl("apply", "-f", str(SAMPLE))
            _pixel(under, chromium, few * 200, out)
    else:
        out.notes["wall"] = "Chromium is not installed: nothing was drawn"


def _costs(under: ClusterUnderTest, total: int, say: Callable[[str], None], out: Measured) -> None:
    """In turns, so that what else this machine does weighs on all alike."""
    spent: dict[int, list[float]] = {0: [], 1: [], WALLS: []}
    for _ in range(_ROUNDS):
        for walls in spent:
            say(f"scale 0 -> {total:,}, walls open: {walls}")
            with _walls(under, walls):
                _down(under)
                before = under.usage().cpu["controller"]
                under.scale("spv", total)
                spent[walls].append(under.usage().cpu["controller"] - before)
    none, one, ten = (statistics.median(spent[walls]) for walls in (0, 1, WALLS))
    out.notes["wall_leader_cpu_seconds"] = {k: [round(s, 2) for s in v] for k, v in spent.items()}
    out.add(
        "wall: the leader's CPU for a scale that one watches, more",
        100 * (one / none - 1),
        "%",
        20,
        5,
    )
    out.add(f"wall: the leader's CPU with {WALLS} walls / with one", ten / one, "x", 1.5, 1.1)


def _draws(under: ClusterUnderTest, chromium: str, total: int, out: Measured) -> None:
    with _page(under, chromium) as page:
        _down(under)
        page.evaluate(DRAW_ALWAYS)
        before, began = _seen(page), time.monotonic()
        drawn = page.evaluate("() => window.drawn")
        under.scale("spv", total)
        until(lambda: _seen(page)["counts"][_RUNNING] == total, "the page shows that all run")
        seconds = time.monotonic() - began
        drawn = page.evaluate("() => window.drawn") - drawn
        sent = (_seen(page)["bytes"] - before["bytes"]) / 1e6
        out.add("wall: pictures a second during that scale", drawn / seconds, "", 30, 60, more=True)
        out.add("wall: all that a page is sent for that scale", sent, "MB", 5, 2)


def _pixel(under: ClusterUnderTest, chromium: str, total: int, out: Measured) -> None:
    """One VM more: from the moment that its host's driver lists it as running until it is drawn,
    the pace at which hosts report included."""
    uid = under.status("spv").fleets[0].uid
    under.scale("spv", total)
    waited = []
    with _page(under, chromium) as page:
        until(lambda: _seen(page)["counts"][_RUNNING] == total, "the page shows that all run")
        for wanted in range(total + 1, total + 1 + _CHANGES):
            page.evaluate(_MEET, [_RUNNING, wanted])
            under.stub.Scale(cluster.ScaleRequest(fleet="spv", total=wanted), timeout=30)
            while under.listed(uid) < wanted:
                pass  # as often as hosts answer
            began = time.time()
            waited.append(max(0.0, float(page.evaluate("() => window.met")) - began))
    out.notes["wall_ms_until_drawn"] = [round(1000 * one) for one in waited]
    what = f"wall: from a VM's start to its pixel, {under.hosts:,} hosts"
    out.add(what, 1000 * statistics.median(waited), "ms", 300, 120)


def _down(under: ClusterUnderTest) -> None:
    under.scale("spv", 0)
    time.sleep(_SETTLE_SECONDS)  # of this, what is measured holds nothing


def _seen(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate("() => megafleetWall.state()")
    return found


@contextmanager
def _page(under: ClusterUnderTest, chromium: str) -> Iterator[Page]:
    with _wall(under) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1920, "height": 1080})  # a pixel for each cell
        page.goto(address)
        until(lambda: bool(_seen(page)["hosts"]), "the page shows hosts")
        yield page
        browser.close()


@contextmanager
def _walls(under: ClusterUnderTest, count: int) -> Iterator[None]:
    """So many `fleetctl wall`, each with a page that asks what the page asks and draws nothing."""
    ending = threading.Event()
    with ExitStack() as stack:
        stack.callback(ending.set)
        for _ in range(count):
            address = stack.enter_context(_wall(under))
            for read in (_read_frames, _ask):
                threading.Thread(target=read, args=(address, ending), daemon=True).start()
        time.sleep(_SETTLE_SECONDS)
        yield
        ending.set()


def _read_frames(address: str, ending: threading.Event) -> None:
    with (
        suppress(OSError, http.client.HTTPException),
        urllib.request.urlopen(f"{address}states") as answer,
    ):
        while not ending.is_set() and answer.read(_READ_BYTES):
            pass


def _ask(address: str, ending: threading.Event) -> None:
    while not ending.wait(1.0):
        for name in ("status", "events?after=0"):
            with suppress(OSError, http.client.HTTPException):
                urllib.request.urlopen(address + name).read()


@contextmanager
def _wall(under: ClusterUnderTest) -> Iterator[str]:
    """Its address."""
    with under.started("wall", "--no-open") as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
