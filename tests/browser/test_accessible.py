"""Contrast and labels of the wall's page, by axe-core."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

import fleetctl.wall
from tests.browser.open_wall import page_of, wall_of
from tests.processes.small_cluster import SmallCluster

AXE = Path(fleetctl.wall.__file__).parent / "page/node_modules/axe-core/axe.min.js"


def test_the_page_can_be_read_by_everybody(browser: Browser, tmp_path: Path) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make page")
    with (
        SmallCluster(tmp_path / "cluster", hosts=4, per_host=40) as cluster,
        wall_of(tmp_path / "wall", cluster.controller.address) as wall,
    ):
        cluster.apply()
        cluster.scale_and_wait(100)
        for scheme in ("light", "dark"):
            address = f"{wall.address}#host={cluster.hosts[0]}"
            with page_of(browser, address, color_scheme=scheme) as seen:
                panel = seen.page.locator("#host")
                panel.get_by_text("room for").wait_for()
                panel.locator("canvas").click(position={"x": 5, "y": 5})
                panel.locator("summary").click()
                seen.page.locator("#vm").get_by_text("ready").wait_for()
                seen.page.evaluate(AXE.read_text())
                found = seen.page.evaluate("() => axe.run()")
                assert "color-contrast" in {one["id"] for one in found["passes"]}
                assert [
                    (one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"])
                    for one in found["violations"]
                ] == []
