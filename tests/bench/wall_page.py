"""The wall's page alone: played frames of a scale, with no cluster on the same cores."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

from fleet.states.frames import Cells
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.pictures.picture import Layout, Picture
from fleetctl.wall.feed import as_messages
from fleetctl.wall.server import WallServer
from tests.bench.measures import Measured

_FRAMES, _EACH_SECONDS = 100, 0.1
# What a VM goes through, each for so many frames.
_STEPS = (types.VM_STATE_PENDING, types.VM_STATE_CLONING, types.VM_STATE_BOOTING)
_STEP_FRAMES = 5
_RUNNING = int(types.VM_STATE_RUNNING)
_PATIENCE_MS = 120_000
# As often as the browser asks for a picture, all of it is drawn, whatever has changed.
DRAW_ALWAYS = """() => { window.drawn = 0; const again = () => {
  megafleetWall.redraw(); window.drawn++; requestAnimationFrame(again); }; again(); }"""
# How often the browser could have drawn, and did not have to wait for the page.
_COUNT = """() => { window.drawn = 0; const again = () => {
  window.drawn++; requestAnimationFrame(again); }; again(); }"""


def page_alone(hosts: int, chromium: str, out: Measured) -> None:
    """Two rows: the page as people have it, and one that draws all cells in each picture."""
    with _played(hosts) as wave:
        out.add(
            "wall, the page alone: pictures a second that the browser can show",
            _pictures(chromium, wave, _COUNT),
            "", 30, 60, more=True,
        )  # fmt: skip
    with _played(hosts) as wave:
        out.add(
            "wall, the page alone: pictures a second, each with all cells",
            _pictures(chromium, wave, DRAW_ALWAYS),
            "", 30, 60, more=True,
        )  # fmt: skip


def _pictures(chromium: str, wave: Wave, count: str) -> int:
    """A second, rounded, from the first VM until the page has counted that all run."""
    with _page(chromium, wave.address) as page:
        page.evaluate(count)
        before, began = page.evaluate("() => window.drawn"), time.monotonic()
        wave.begun.set()
        all_run = f"() => megafleetWall.state().counts[{_RUNNING}] == {wave.total}"
        page.wait_for_function(all_run, timeout=_PATIENCE_MS)
        seconds = time.monotonic() - began
        drawn: int = page.evaluate("() => window.drawn") - before
        return round(drawn / seconds)


class Wave:
    """VMs of all hosts become running within ten seconds, a host's own one after another."""

    def __init__(self, hosts: int, cells: int = 250) -> None:
        self.begun, self.ending = threading.Event(), threading.Event()
        self.total = hosts * cells
        self.address = ""  # where a page has it
        self._picture = Picture(cluster.STATES_LAYER_STATE, cluster.STATES_GROUPING_HOST)
        blocks = tuple((f"host-{n:05d}", f"rack-{n // 40:03d}", cells) for n in range(hosts))
        starts = np.random.default_rng(1).integers(0, _FRAMES - 20, hosts)
        own = np.linspace(0, 20 - len(_STEPS) * _STEP_FRAMES, cells).astype(np.int64)
        self._first = (starts[:, None] + own[None, :]).reshape(-1)
        self._picture.begin(Layout(blocks), np.zeros(self.total, np.uint8))
        self.frames = [self._picture.since(0), *map(self._frame, range(_FRAMES + 1))]

    def _frame(self, at: int) -> cluster.StatesFrame:
        before = self._picture.number
        self._picture.change(self._cells(at))
        return self._picture.since(before)

    def _cells(self, at: int) -> Cells:
        step = np.clip((at - self._first) // _STEP_FRAMES + 1, 0, len(_STEPS) + 1)
        cells: Cells = np.array([0, *_STEPS, _RUNNING], np.uint8)[step]
        return cells


class _Played:
    def __init__(self, wave: Wave) -> None:
        self.questions: Any = _Calm(wave.total)
        self._wave = wave

    def messages(self, layer: str, grouping: str) -> Iterator[bytes]:
        first, *others = self._wave.frames
        yield from as_messages(first)
        while not self._wave.begun.wait(0.5):
            yield from as_messages(cluster.StatesFrame(number=first.number))
        began = time.monotonic()
        for number, frame in enumerate(others):
            time.sleep(max(0.0, began + number * _EACH_SECONDS - time.monotonic()))
            yield from as_messages(frame)
        while not self._wave.ending.wait(0.5):
            yield from as_messages(cluster.StatesFrame(number=others[-1].number))


class _Calm:
    """What the page asks beside."""

    def __init__(self, total: int) -> None:
        self._total = total

    def status(self) -> dict[str, Any]:
        hosts = {"live": 1, "total": 1, "unreachable": 0, "suspect": 0, "lost": 0}
        states = {"running": 0, "failed": 0}
        return {
            "total": self._total,
            "unplaced": 0,
            "states": states,
            "hosts": hosts,
            "problems": [],
        }

    def version(self) -> dict[str, Any]:
        return {"leader": "played", "cluster": "played"}

    def events(self, after: int) -> dict[str, Any]:
        return {"events": [], "cursor": after}


@contextmanager
def _played(hosts: int) -> Iterator[Wave]:
    wave = Wave(hosts)
    feed: Any = _Played(wave)
    with WallServer(feed) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            wave.address = server.address
            yield wave
        finally:
            wave.begun.set()
            wave.ending.set()
            server.shutdown()
            thread.join()


@contextmanager
def _page(chromium: str, address: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1920, "height": 1080})  # a pixel for each cell
        page.goto(address)
        page.wait_for_function("() => megafleetWall.state().hosts > 0")
        yield page
        browser.close()
