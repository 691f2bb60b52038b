"""What people do with the wall: colours, groups, problems, VMs and their consoles, the past."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from fleet.v1 import types_pb2 as types
from tests.browser.open_wall import Seen, Wall, page_of, wall_of
from tests.processes.small_cluster import SmallCluster

RUNNING, UNKNOWN = int(types.VM_STATE_RUNNING), int(types.VM_STATE_UNKNOWN)
HOSTS, PER_HOST, SPV, WEB = 12, 40, 260, 100


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallCluster]:
    with SmallCluster(tmp_path_factory.mktemp("cluster"), HOSTS, PER_HOST) as cluster:
        for name, total in (("spv", SPV), ("web", WEB)):
            cluster.apply(name)
            cluster.scale_and_wait(total, name)
        yield cluster


@pytest.fixture(scope="module")
def wall(cluster: SmallCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wall]:
    with wall_of(tmp_path_factory.mktemp("wall"), cluster.controller.address) as wall:
        yield wall


def counted(seen: Seen) -> dict[str, int]:
    """Of what the picture shows: how many cells say what."""
    shown = seen.page.evaluate("() => megafleetWall.shown()")
    pairs = zip(shown["names"], shown["counts"], strict=True)
    return {name: n for name, n in pairs if n and name != "free"}


def test_colours_tell_fleets_and_generations_apart(
    browser: Browser, cluster: SmallCluster, wall: Wall
) -> None:
    with page_of(browser, wall.address) as seen:
        seen.page.locator("#layer").select_option("fleet")
        seen.until(lambda: counted(seen) == {"spv": SPV, "web": WEB}, "both fleets")
        assert seen.page.url.endswith("#by=fleet")
        seen.page.locator("#layer").select_option("generation")
        seen.until(lambda: counted(seen) == {"newest generation": SPV + WEB}, "generations")
        seen.page.locator("#layer").select_option("hypervisor")
        seen.until(lambda: counted(seen) == {"hollow": SPV + WEB}, "what runs them")
        seen.page.locator("#layer").select_option("state")
        seen.until(lambda: counted(seen) == {"running": SPV + WEB}, "states again")


def test_by_fleet_a_cell_is_an_index(browser: Browser, cluster: SmallCluster, wall: Wall) -> None:
    with page_of(browser, f"{wall.address}#group=fleet") as seen:
        blocks = ["spv/0", "spv/250", "web/0"]
        asked = "() => megafleetWall.shown().blocks"
        seen.until(lambda: seen.page.evaluate(asked) == blocks, "stretches of fleets")
        assert seen.cells("spv/250") == [RUNNING] * 10
        seen.until(lambda: seen.pixel("web/0", 99) == seen.colour(RUNNING), "it is drawn")
        row = wall.fleetctl("vms", "show", "spv-253", "-o", "json").json
        seen.page.mouse.move(*seen.middle("spv/250", 3))
        tip = seen.page.locator("#tip")
        seen.until(lambda: f"spv/253: running on {row['host']}" in tip.inner_text(), "its host")
        seen.page.mouse.click(*seen.middle("spv/250", 3))
        seen.until(lambda: seen.state["open"] == row["host"], "its host is open")
        panel = seen.page.locator("#vm")
        seen.until(lambda: "ready name=spv-253" in panel.inner_text(), "its console")


def test_a_click_on_a_cell_shows_the_end_of_its_console(
    browser: Browser, cluster: SmallCluster, wall: Wall
) -> None:
    host = cluster.hosts[2]
    with page_of(browser, f"{wall.address}#host={host}") as seen:
        seen.page.locator("#host").get_by_text("room for").wait_for()
        seen.page.locator("#host canvas").click(position={"x": 5, "y": 5})
        panel, said = seen.page.locator("#vm"), seen.page.locator("#host .said")
        seen.until(lambda: ": running" in said.inner_text(), "which VM it is")
        name = said.inner_text().partition(":")[0].replace("/", "-")
        told = wall.fleetctl("vms", "show", name, "-o", "json").json
        assert told["host"] == host
        seen.until(lambda: f"ready name={name}" in panel.inner_text(), "what it has printed")
        assert f"fleetctl console {name} --read-only" in panel.inner_text()
        seen.page.locator("#host summary").click()
        rows = seen.page.locator("#host details li")
        seen.until(lambda: rows.count() == len(seen.cells(host)) - seen.cells(host).count(0), "VMs")
        seen.page.get_by_role("button", name="CPU").click()
        seen.until(lambda: "% of a CPU" in said.inner_text(), "what it uses")


def test_a_vm_is_found_by_its_name(browser: Browser, cluster: SmallCluster, wall: Wall) -> None:
    with page_of(browser, wall.address) as seen:
        seen.page.keyboard.press("/")
        seen.page.keyboard.type("web-7")
        seen.page.keyboard.press("Enter")
        panel = seen.page.locator("#vm")
        seen.until(lambda: "web/7: running" in panel.inner_text(), "the VM is open")


def test_a_problem_lights_only_the_vms_that_have_it(
    browser: Browser, cluster: SmallCluster, wall: Wall
) -> None:
    gone, there = cluster.hollows[-1], cluster.hosts[0]
    with page_of(browser, wall.address) as seen:
        gone.kill()
        seen.page.get_by_role("button", name="host_unreachable").first.click()
        silent = gone.hosts[0]
        seen.until(lambda: counted(seen).get("host_unreachable") == 180, "their VMs")
        names = seen.page.evaluate("() => megafleetWall.shown().names")
        kind, fine = names.index("host_unreachable"), names.index("nothing is wrong")
        seen.until(lambda: seen.pixel(silent, 0) == seen.colour(kind), "they are lit")
        assert seen.pixel(there, 0) != seen.colour(fine)  # faint
        gone.start()
        cluster.until_live()
        seen.until(lambda: "host_unreachable" not in counted(seen), "it is over")


def test_the_past_can_be_looked_at(browser: Browser, cluster: SmallCluster, wall: Wall) -> None:
    back = "n => { const at = document.getElementById('back'); at.value = n; "
    back += "at.dispatchEvent(new Event('input')); }"
    with page_of(browser, wall.address) as seen:
        seen.until(lambda: counted(seen) == {"running": SPV + WEB}, "as it is")
        seen.until(
            lambda: seen.page.evaluate("() => Number(document.getElementById('back').min) < -3"),
            "there is a past",
        )
        cluster.scale_and_wait(WEB - 60, "web")
        seen.until(lambda: counted(seen) == {"running": SPV + WEB - 60}, "fewer")
        seen.page.evaluate(back, -600)
        seen.until(lambda: counted(seen) == {"running": SPV + WEB}, "as it was")
        assert "ago" in seen.page.locator("#when").inner_text()
        assert seen.state["counts"][RUNNING] == SPV + WEB - 60  # it goes on beneath
        seen.page.locator("#now").click()
        seen.until(lambda: counted(seen) == {"running": SPV + WEB - 60}, "now")
        cluster.scale_and_wait(WEB, "web")


def test_what_has_changed_of_late_is_told(
    browser: Browser, cluster: SmallCluster, wall: Wall
) -> None:
    with page_of(browser, wall.address) as seen:  # what others began has come to its end
        seen.until(lambda: counted(seen) == {"running": SPV + WEB}, "all run")
    with page_of(browser, f"{wall.address}#by=age") as seen:
        before = "longer ago, or before this page looked"
        seen.until(lambda: counted(seen) == {before: SPV + WEB}, "nothing yet")
        cluster.scale_and_wait(WEB + 20, "web")
        # Where "web" has the first cells of a host, VMs of "spv" move up: other cells change.
        of_late = range(20, 41)
        seen.until(lambda: sum(counted(seen).values()) == SPV + WEB + 20, "new ones")
        seen.until(lambda: SPV + WEB + 20 - counted(seen).get(before, 0) in of_late, "changes")
        cluster.scale_and_wait(WEB, "web")


def test_a_screen_on_the_wall_shows_the_picture_and_figures_alone(
    browser: Browser, wall: Wall
) -> None:
    with page_of(browser, f"{wall.address}#screen=1") as seen:
        assert not seen.page.locator("aside").is_visible()
        assert not seen.page.locator("#tools").is_visible()
        wide = seen.page.locator("#view").bounding_box()
        assert wide is not None and wide["width"] > 1200
        seen.page.keyboard.press("Escape")
        seen.page.locator("aside").wait_for()
