"""Whatever is said to the page: it is bounded, it is text, and it draws up to 16 million cells."""

from __future__ import annotations

import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser

from fleetctl.wall.server import WallServer
from tests.browser.open_wall import PATIENCE_MS, page_of

WHOLE, LAYOUT, NOTE = 1, 0x10, 0x11
RUNNING, FAILED = 5, 7


# What drawing all cells takes, the fastest of some.
_EACH = """() => Math.min(...Array.from({ length: 10 }, () => {
  const began = performance.now(); megafleetWall.redraw(); return performance.now() - began; }))"""


class Questions:
    """A cluster that names itself, its hosts and its problems in markup."""

    def status(self) -> dict[str, Any]:
        hosts = {"live": 1, "total": 1, "unreachable": 0, "suspect": 0, "lost": 0}
        problem = {"kind": "<b id=forged>", "count": 1, "hosts": 1, "example": "<script>x()"}
        states = {"running": 1, "failed": 0}
        told = {"total": 1, "unplaced": 0, "states": states, "hosts": hosts}
        return told | {"problems": [problem], "freeze": {"reason": "<i id=forged>"}}

    def version(self) -> dict[str, Any]:
        return {"leader": "<i id=forged>", "cluster": "<i id=forged>"}

    def events(self, after: int) -> dict[str, Any]:
        event = {"time": 0, "message": "<i id=forged>", "count": 1, "fleet": "<i>", "host": "<i>"}
        return {"events": [event], "cursor": 1}

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


class Says:
    """A feed of these messages, which then only says that it is there."""

    def __init__(self, *messages: tuple[int, bytes]) -> None:
        self.questions = Questions()
        self._messages = messages
        self.ending = threading.Event()

    def messages(self, layer: str, grouping: str) -> Iterator[bytes]:
        for kind, body in self._messages:
            yield struct.pack("<BI", kind, len(body)) + body
        while not self.ending.wait(0.5):
            yield struct.pack("<BI", WHOLE, 0)


@contextmanager
def served(*messages: tuple[int, bytes]) -> Iterator[str]:
    feed: Any = Says(*messages)
    with WallServer(feed) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.address
        finally:
            feed.ending.set()
            server.shutdown()
            thread.join()


def layout(hosts: int, cells: int) -> tuple[int, bytes]:
    return LAYOUT, "\n".join(f"h{n}\tr{n // 40}\t{cells}" for n in range(hosts)).encode()


def banner_of(browser: Browser, *messages: tuple[int, bytes], says: str) -> None:
    with served(*messages) as address:
        page = browser.new_page()
        try:
            page.goto(address)
            page.locator("#banners").get_by_text(says).wait_for(timeout=PATIENCE_MS)
        finally:
            page.close()


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ((WHOLE, zlib.compress(bytes(300_000_000), 9)), "longer than any can be"),
        ((WHOLE, zlib.compress(b"")), "ends too early"),
        ((9, zlib.compress(b"x")), "unknown encoding 9"),
        ((NOTE, b"<i id=forged>why"), "<i id=forged>why"),
    ],
)
def test_a_frame_that_no_leader_makes_is_refused(
    browser: Browser, message: tuple[int, bytes], says: str
) -> None:
    banner_of(browser, layout(10, 250), message, says=says)


@pytest.mark.parametrize("cells", [10**9, -1])
def test_a_layout_beyond_bounds_is_refused(browser: Browser, cells: int) -> None:
    says = "16 million" if cells > 0 else "cannot be read"
    banner_of(browser, layout(3, cells), says=says)


def test_one_host_that_claims_a_million_leaves_the_others_to_be_seen(browser: Browser) -> None:
    sizes = [(n, 1_000_000 if n == 7 else 250) for n in range(1000)]
    hosts = LAYOUT, "\n".join(f"h{n}\t\t{cells}" for n, cells in sizes).encode()
    packed = bytes([RUNNING | RUNNING << 4]) * (sum(cells for _, cells in sizes) // 2)
    with (
        served(hosts, (WHOLE, zlib.compress(packed))) as address,
        page_of(browser, address) as seen,
    ):
        assert seen.cells("h8") == [RUNNING] * 250


def test_what_is_said_is_text_and_never_markup(browser: Browser) -> None:
    body = LAYOUT, b"<i id=forged>\t<i id=forged>\t10"
    cells = WHOLE, zlib.compress(bytes([RUNNING]) * 5)
    with served(body, cells) as address, page_of(browser, address) as seen:
        seen.page.locator("#problems").get_by_text("<b id=forged>").wait_for()
        seen.page.locator("#events").get_by_text("<i id=forged>").wait_for()
        seen.page.mouse.move(*seen.middle("<i id=forged>", 2))
        seen.page.locator("#tip").get_by_text("<i id=forged>").wait_for()
        assert seen.page.locator("[id=forged]").count() == 0


@pytest.mark.parametrize(("renderer", "hosts"), [("webgl2", 64_000), ("canvas", 64_000)])
def test_sixteen_million_cells_are_one_picture_in_which_no_failure_is_lost(
    browser: Browser, renderer: str, hosts: int
) -> None:
    per_host, ill = 250, hosts // 2
    packed = bytearray(bytes([RUNNING | RUNNING << 4]) * (hosts * per_host // 2))
    packed[(ill * per_host + 120) // 2] = RUNNING | FAILED << 4
    cells = WHOLE, zlib.compress(bytes(packed))
    with (
        served(layout(hosts, per_host), cells) as address,
        page_of(browser, f"{address}?renderer={renderer}") as seen,
    ):
        shown = seen.page.evaluate("() => megafleetWall.shown()")
        assert shown["shrink"] > 1 and shown["counts"][RUNNING] == hosts * per_host - 1
        box, view = (seen.page.locator(one).bounding_box() for one in ("#wall", "#view"))
        assert box and view and box["height"] <= view["height"] and box["width"] <= view["width"]
        running, failed = seen.colour(RUNNING), seen.colour(FAILED)
        assert seen.pixel(f"h{ill - 1}", 121) == running
        found = seen.pixel(f"h{ill}", 121)
        assert all(
            abs(f - b) <= 0.41 * abs(a - b) + 1
            for a, b, f in zip(running, failed, found, strict=True)
        )
        seen.page.mouse.move(*seen.middle(f"h{ill}", 121))
        seen.page.locator("#tip").get_by_text("1 failed").wait_for()
        started = time.monotonic()
        seen.page.evaluate("() => { megafleetWall.redraw(); }")
        assert time.monotonic() - started < PATIENCE_MS / 1000


def test_without_a_gpu_a_million_cells_are_drawn_at_the_browsers_pace(browser: Browser) -> None:
    """What the processor plays as a GPU is not used; a loose bound, as other things run here."""
    cells = WHOLE, zlib.compress(bytes([RUNNING | RUNNING << 4]) * (4480 * 250 // 2))
    with served(layout(4480, 250), cells) as address:
        with page_of(browser, address, 1920, 1080) as seen:
            assert seen.state["renderer"] == "canvas"
            milliseconds = seen.page.evaluate(_EACH)
    assert milliseconds < 33, "30 pictures a second"
