"""`fleetctl wall` of a cluster, and its page as a browser has it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from fleet.transport import Role
from tests.certificates import issue
from tests.processes.daemons import eventually
from tests.processes.fleetctl_process import Fleetctl

PATIENCE_MS = 20_000


@dataclass(frozen=True, slots=True)
class Wall:
    address: str
    fleetctl: Fleetctl
    process: subprocess.Popen[str]


@dataclass(frozen=True, slots=True)
class Seen:
    """A page, read through the hook that docs/wall.md tells."""

    page: Page
    errors: list[str]

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.evaluate("() => megafleetWall.state()")
        return found

    def cells(self, host: str) -> list[int]:
        found: list[int] = self.page.evaluate("host => megafleetWall.cells(host)", host)
        return found

    def pixel(self, host: str, cell: int) -> list[int]:
        asked = "([host, cell]) => megafleetWall.pixel(host, cell)"
        found: list[int] = self.page.evaluate(asked, [host, cell])
        return found

    def colour(self, state: int) -> list[int]:
        found: list[int] = self.page.evaluate("state => megafleetWall.colour(state)", state)
        return found

    def middle(self, host: str, cell: int) -> tuple[float, float]:
        asked = "([host, cell]) => megafleetWall.middle(host, cell)"
        x, y = self.page.evaluate(asked, [host, cell])
        return x, y

    def until(self, look: Callable[[], Any], what: str) -> None:
        eventually(look, what)


@contextmanager
def wall_of(folder: Path, *endpoints: str) -> Iterator[Wall]:
    """Ended by Ctrl-C, as people end it, which must be clean."""
    viewer = issue(folder / "viewer", Role.VIEWER, "screen")
    fleetctl = Fleetctl(folder, endpoints, viewer)
    process = fleetctl.start("wall", "--no-open")
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), process.stderr
        yield Wall(address, fleetctl, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")
    finally:
        process.kill()
        process.communicate()


@contextmanager
def page_of(
    browser: Browser, address: str, width: int = 1280, height: int = 800, **options: Any
) -> Iterator[Seen]:
    """Fails for any error that the page has not caught."""
    page = browser.new_page(viewport={"width": width, "height": height}, **options)
    seen = Seen(page, [])
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.set_default_timeout(PATIENCE_MS)
    try:
        page.goto(address)
        seen.until(lambda: seen.state["hosts"], "the page shows hosts")
        # With the figures come banners, which move the picture.
        page.locator("#figures dd").first.wait_for()
        yield seen
        assert not seen.errors
    finally:
        page.close()
