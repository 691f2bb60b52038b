"""The wall before 448 hosts, on which some VMs fail: each cell is held against `fleetctl vms`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from playwright.sync_api import Browser

from fleet.v1 import types_pb2 as types
from tests.browser.open_wall import Seen, Wall, page_of, wall_of
from tests.processes.small_cluster import SmallCluster

HOSTS, PER_HOST, TOTAL = 448, 40, 8_000
FAILED, UNKNOWN = int(types.VM_STATE_FAILED), int(types.VM_STATE_UNKNOWN)
PROFILE = 'faults = [{step = "start", rate = 0.01, kind = "no_memory", message = "it is full"}]\n'


def test_448_hosts_are_shown_as_they_are_listed_also_after_the_controller_was_killed(
    browser: Browser, tmp_path: Path
) -> None:
    profile = tmp_path / "profile.toml"
    profile.write_text(PROFILE)
    options = ("--profile", str(profile))
    with (
        SmallCluster(tmp_path / "c", HOSTS, PER_HOST, 4, options) as cluster,
        wall_of(tmp_path / "wall", cluster.controller.address) as wall,
        page_of(browser, wall.address) as seen,
    ):
        cluster.apply()
        cluster.scale(TOTAL)
        seen.until(lambda: _settled(seen), "all have run or failed")
        seen.until(lambda: _shows(seen, wall, cluster), "each cell is what is listed")
        failed = seen.state["counts"][FAILED]
        assert failed > 0
        seen.page.get_by_role("button", name="no_memory").first.click()
        seen.until(lambda: _lit(seen, "no_memory") == failed, "those that have failed")
        seen.page.locator("#layer").select_option("state")
        cluster.controller.kill()
        banners = seen.page.locator("#banners")
        seen.until(lambda: "Not connected" in banners.inner_text(), "it is cut off")
        cluster.controller.start()
        cluster.until_live()
        seen.until(lambda: "Not connected" not in banners.inner_text(), "it is there again")
        seen.until(lambda: _shows(seen, wall, cluster), "each cell is what is listed, again")


def _settled(seen: Seen) -> bool:
    """Whether each VM has a cell, and none is on its way."""
    counts = seen.state["counts"]
    return sum(counts[1:]) == TOTAL and not any(counts[1:5]) and not counts[UNKNOWN]


def _lit(seen: Seen, kind: str) -> int:
    shown = seen.page.evaluate("() => megafleetWall.shown()")
    found: dict[str, int] = dict(zip(shown["names"], shown["counts"], strict=True))
    return found.get(kind, 0)


def _shows(seen: Seen, wall: Wall, cluster: SmallCluster) -> bool:
    """All cells of all hosts, and the pixels of one host in each rack."""
    listed: dict[str, list[int]] = defaultdict(list)
    for vm in wall.fleetctl("vms", "--limit", str(TOTAL), "-o", "json").json["vms"]:
        listed[vm["host"]].append(types.VmState.Value(f"VM_STATE_{vm['state'].upper()}"))
    cells: dict[str, list[int]] = seen.page.evaluate(
        "hosts => Object.fromEntries(hosts.map(one => [one, megafleetWall.cells(one)]))",
        cluster.hosts,
    )
    wanted = {host: listed[host] + [0] * (PER_HOST - len(listed[host])) for host in cluster.hosts}
    return cells == wanted and all(
        seen.pixel(host, cell) == seen.colour(state)
        for host in cluster.hosts[::40]
        for cell, state in enumerate(cells[host][:3])
        if state != UNKNOWN  # hatched
    )
