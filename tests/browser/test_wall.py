"""The wall in a real browser, before a real cluster of hollow hosts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, Route

from fleet.v1 import types_pb2 as types
from tests.browser.open_wall import Seen, Wall, page_of, wall_of
from tests.processes.small_cluster import SmallCluster

FREE, RUNNING = 0, int(types.VM_STATE_RUNNING)
FAILED, UNKNOWN = int(types.VM_STATE_FAILED), int(types.VM_STATE_UNKNOWN)
HOSTS, PER_HOST, TOTAL = 24, 40, 700


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with SmallCluster(folder, hosts=HOSTS, per_host=PER_HOST) as cluster:
        cluster.apply()
        cluster.scale_and_wait(TOTAL)
        yield cluster


@pytest.fixture(scope="module")
def wall(cluster: SmallCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wall]:
    with wall_of(tmp_path_factory.mktemp("wall"), cluster.controller.address) as wall:
        yield wall


def shows(seen: Seen, cluster: SmallCluster, wall: Wall) -> bool:
    """Whether each host's cells, and the pixels of them, are what `fleetctl vms` lists."""
    listed: dict[str, list[int]] = {host: [] for host in cluster.hosts}
    for vm in wall.fleetctl("vms", "--limit", "10000", "-o", "json").json["vms"]:
        if vm["host"]:
            listed[vm["host"]].append(types.VmState.Value(f"VM_STATE_{vm['state'].upper()}"))
    for host, states in listed.items():
        if seen.cells(host) != states + [FREE] * (PER_HOST - len(states)):
            return False
    return all(
        seen.pixel(host, cell) == seen.colour(state)
        for host in (cluster.hosts[0], cluster.hosts[-1])
        for cell, state in enumerate([*listed[host], FREE][:PER_HOST])
        if state != UNKNOWN  # hatched
    )


@pytest.mark.parametrize("renderer", ["webgl2", "canvas"])
def test_each_pixel_is_what_fleetctl_vms_says(
    browser: Browser, cluster: SmallCluster, wall: Wall, renderer: str
) -> None:
    with page_of(browser, f"{wall.address}?renderer={renderer}") as seen:
        assert seen.state["renderer"] == renderer
        seen.until(lambda: shows(seen, cluster, wall), "the page shows what is listed")
        cluster.scale_and_wait(TOTAL - 300)
        seen.until(lambda: shows(seen, cluster, wall), "fewer VMs are shown")
        cluster.scale_and_wait(TOTAL)
        seen.until(lambda: shows(seen, cluster, wall), "more VMs are shown")
        assert seen.state["counts"][RUNNING] == TOTAL


def test_figures_are_those_of_status(browser: Browser, cluster: SmallCluster, wall: Wall) -> None:
    with page_of(browser, wall.address) as seen:
        figures = seen.page.locator("#figures")
        seen.until(lambda: f"{TOTAL}" in figures.inner_text(), "figures")
        assert f"{HOSTS} of {HOSTS}" in figures.inner_text()
        assert "700 running" in seen.page.locator("#wall").get_attribute("aria-label")  # type: ignore[operator]


def test_figures_have_their_place_before_they_come(
    browser: Browser, cluster: SmallCluster, wall: Wall
) -> None:
    """Whoever has aimed at a cell by then still points at it."""
    host = cluster.hosts[3]
    without = """host => {
        document.getElementById("figures").replaceChildren();
        return megafleetWall.middle(host, 0);
    }"""
    with page_of(browser, wall.address) as seen:
        before = seen.middle(host, 0)
        assert tuple(seen.page.evaluate(without, host)) == before


def first_vm(wall: Wall, host: str) -> str:
    first = wall.fleetctl("vms", "--host", host, "-o", "json").json["vms"][0]
    return f"spv/{first['index']}: running"


def test_hovering_names_host_and_vm(browser: Browser, cluster: SmallCluster, wall: Wall) -> None:
    host = cluster.hosts[3]
    with page_of(browser, wall.address) as seen:
        seen.page.mouse.move(*seen.middle(host, 0))
        tip = seen.page.locator("#tip")
        seen.until(lambda: first_vm(wall, host) in tip.inner_text(), "the VM's name")
        assert host in tip.inner_text()


def test_a_pointer_that_rests_is_told_of_what_changes_under_it(
    browser: Browser, cluster: SmallCluster, wall: Wall
) -> None:
    host = cluster.hosts[3]
    with page_of(browser, wall.address) as seen:
        tip = seen.page.locator("#tip")
        seen.page.mouse.move(*seen.middle(host, 0))
        seen.until(lambda: host in tip.inner_text(), "the host under the pointer")
        seen.page.keyboard.press("+")
        seen.until(lambda: host not in tip.inner_text(), "the picture moved, and the tip with it")
        seen.page.keyboard.press("-")
        seen.until(lambda: first_vm(wall, host) in tip.inner_text(), "the VM's name again")
        cluster.scale_and_wait(0)
        seen.until(lambda: "free" in tip.inner_text(), "its VM is gone")
        cluster.scale_and_wait(TOTAL)
        seen.until(lambda: first_vm(wall, host) in tip.inner_text(), "another has come")


def test_an_answer_about_what_is_under_the_pointer_may_be_lost(
    browser: Browser, cluster: SmallCluster, wall: Wall
) -> None:
    host, lost = cluster.hosts[3], list[Route]()

    def lose_the_first(route: Route) -> None:
        if lost:
            route.continue_()
        else:
            lost.append(route)
            route.abort()

    with page_of(browser, wall.address) as seen:
        seen.page.route("**/host?*", lose_the_first)
        seen.page.mouse.move(*seen.middle(host, 0))
        tip = seen.page.locator("#tip")
        seen.until(lambda: first_vm(wall, host) in tip.inner_text(), "the VM's name")
        assert lost


def test_a_click_opens_a_host_and_the_address_leads_back_to_it(
    browser: Browser, cluster: SmallCluster, wall: Wall
) -> None:
    host = cluster.hosts[5]
    with page_of(browser, wall.address) as seen:
        seen.page.mouse.click(*seen.middle(host, 2))
        panel = seen.page.locator("#host")
        seen.until(lambda: "room for" in panel.inner_text(), "the host's facts")
        assert host in panel.inner_text()
        assert seen.page.url.endswith(f"#host={host}")
        linked = seen.page.url
        seen.page.keyboard.press("Escape")
        seen.until(lambda: not panel.is_visible(), "Esc closes it")
    with page_of(browser, linked) as seen:
        seen.until(lambda: seen.state["open"] == host, "the link opens it")


def test_the_keyboard_does_what_the_mouse_does(
    browser: Browser, cluster: SmallCluster, wall: Wall
) -> None:
    with page_of(browser, wall.address) as seen:
        keys = seen.page.keyboard
        seen.page.locator("#wall").focus()
        keys.press("ArrowRight")
        keys.press("ArrowRight")
        keys.press("Enter")
        seen.until(lambda: seen.state["open"] == cluster.hosts[1], "the second host is open")
        keys.press("/")
        keys.type(cluster.hosts[7])
        keys.press("Enter")
        seen.until(lambda: seen.state["open"] == cluster.hosts[7], "the host that was found")
        keys.press("Escape")
        before = seen.colour(RUNNING)
        keys.press("p")
        assert seen.colour(RUNNING) != before
        dark = seen.page.locator("html").get_attribute("data-theme")
        keys.press("t")
        assert seen.page.locator("html").get_attribute("data-theme") != dark


def test_a_state_of_the_legend_is_lit_alone(
    browser: Browser, cluster: SmallCluster, wall: Wall
) -> None:
    host = cluster.hosts[0]
    with page_of(browser, wall.address) as seen:
        running = seen.colour(RUNNING)
        seen.until(lambda: seen.pixel(host, 0) == running, "it runs")
        seen.page.get_by_role("button", name="failed").click()
        assert seen.pixel(host, 0) != running
        seen.page.get_by_role("button", name="running").click()
        assert seen.pixel(host, 0) == running


def test_it_goes_on_after_its_controller_was_killed(
    browser: Browser, cluster: SmallCluster, wall: Wall
) -> None:
    with page_of(browser, wall.address) as seen:
        cluster.controller.kill()
        banners = seen.page.locator("#banners")
        seen.until(lambda: "Not connected" in banners.inner_text(), "it says that it is cut off")
        cluster.controller.start()
        cluster.until_live()
        cluster.scale_and_wait(TOTAL - 1)
        seen.until(lambda: "Not connected" not in banners.inner_text(), "it is there again")
        seen.until(lambda: shows(seen, cluster, wall), "it shows what is listed")
        cluster.scale_and_wait(TOTAL)


def test_hosts_that_are_not_heard_are_unknown(
    browser: Browser, cluster: SmallCluster, wall: Wall
) -> None:
    gone = cluster.hollows[-1]
    with page_of(browser, wall.address) as seen:
        gone.kill()
        seen.until(lambda: seen.state["counts"][UNKNOWN] > 0, "their VMs are unknown")
        row = seen.page.locator("#problems")
        seen.until(lambda: "host_unreachable" in row.inner_text(), "the problem is counted")
        gone.start()
        cluster.until_live()
        seen.until(lambda: seen.state["counts"][UNKNOWN] == 0, "they are heard again")


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080), (390, 844)])
def test_it_fits_the_screen(browser: Browser, wall: Wall, size: tuple[int, int]) -> None:
    with page_of(browser, wall.address, *size) as seen:
        wide = seen.page.evaluate("() => document.documentElement.scrollWidth")
        assert wide <= size[0]
        box = seen.page.locator("#wall").bounding_box()
        assert box is not None and box["width"] > size[0] / 3


def test_it_answers_nobody_but_its_own_page(wall: Wall) -> None:
    origin = wall.address.rsplit("/", 2)[0]
    strange = [
        Request(origin + "/"),
        Request(origin + "/guess/status"),
        Request(wall.address, headers={"Host": "wall.example"}),
        Request(wall.address + "status", headers={"Origin": "https://wall.example"}),
        Request(wall.address + "status", headers={"Sec-Fetch-Site": "cross-site"}),
        Request(wall.address + "status", method="POST", data=b"{}"),
    ]
    for request in strange:
        with pytest.raises(HTTPError) as refused:
            urlopen(request, timeout=10)
        assert refused.value.code in (403, 404, 501)
        refused.value.close()
    with urlopen(wall.address, timeout=10) as answer:
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_a_cluster_that_cannot_be_reached_is_told_at_once(tmp_path: Path, wall: Wall) -> None:
    said = wall.fleetctl.process("wall", "--no-open", "--endpoint", "127.0.0.1:1")
    assert said.code == 4 and "127.0.0.1:1" in said.err
    assert subprocess.list2cmdline([said.out]) == '""'
