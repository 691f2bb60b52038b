"""The panes of `fleetctl ui` over a real cluster: what they show, and what keys do."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.transport import Role
from fleet.v1 import cluster_pb2 as wire
from fleetctl.ui import vm_list
from fleetctl.ui.vm_list import VmList
from megafleet.connection.cluster import Cluster
from tests.processes.daemons import eventually
from tests.processes.small_cluster import SmallCluster
from tests.processes.ui.screen_pilot import client, shown

_REFUSED = "viewer/alice may not do this; it takes the role operator"

pytest_plugins = ["tests.processes.cluster_fixtures"]


@pytest.fixture
def connection(cluster: SmallCluster, tmp_path: Path) -> Cluster:
    return client(tmp_path, cluster.controller.address)


@pytest.fixture
def filled(cluster: SmallCluster) -> SmallCluster:
    """480 VMs, 20 on each host."""
    cluster.apply("spv")
    cluster.scale_and_wait(480)
    return cluster


def host_of(cluster: SmallCluster, host: str) -> wire.HostSummary:
    return cluster.stub.GetHost(wire.GetHostRequest(id=host), timeout=30).summary


async def test_each_pane_shows_what_its_command_lists(
    filled: SmallCluster, connection: Cluster
) -> None:
    async with shown(connection) as on:
        text = await on.until_shown("480 of 480 VMs running, 24 of 24 hosts live", "golden@1")
        assert text.splitlines()[2].split()[:4] == ["FLEET", "TOTAL", "PLACED", "RUNNING"]
        await on.press("2")
        text = await on.until_shown("1 of 24")
        assert filled.hosts[0] in text and "CAPACITY" in text
        await on.press("3")
        text = await on.until_shown("1 of 480", "of spv")
        assert "spv-0 " in text and "running" in text
        await on.press("4")
        await on.until_shown("WHAT HAPPENED", "fleet spv: 0 -> 480 VMs", "1 of ")
        await on.press("tab")
        await on.until_shown("no problems")
        assert all(len(line) <= 80 for line in on.text.splitlines())


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_rows_fill_the_screen_whatever_its_size(
    filled: SmallCluster, connection: Cluster, size: tuple[int, int]
) -> None:
    async with shown(connection, "vms", size=size) as on:
        text = await on.until_shown("1 of 480", "OK")
        rows = [line for line in text.splitlines() if line.startswith("spv-")]
        assert len(rows) == size[1] - 5
        assert ("UUID" in text) is (size[0] >= 120)


async def test_a_resize_keeps_the_row_and_a_tiny_terminal_is_told(
    filled: SmallCluster, connection: Cluster
) -> None:
    async with shown(connection, "vms") as on:
        await on.until_shown("1 of 480")
        await on.press("end")
        await on.until_shown("480 of 480", "spv-479 ")
        await on.resize(120, 40)
        await on.until_shown("480 of 480", "spv-479 ", "spv-445 ", "UUID")
        await on.resize(20, 5)
        await on.until_shown("too small")
        await on.resize(80, 24)
        await on.until_shown("480 of 480", "spv-479 ")


async def test_of_vms_only_a_few_pages_are_held(
    filled: SmallCluster, connection: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vm_list, "PAGE", 20)
    async with shown(connection, "vms", size=(80, 15)) as on:
        rows = on.screen.panes["vms"].rows
        assert isinstance(rows, VmList)
        await on.until_shown("1 of 480")
        for screen in range(1, 12):
            await on.press("pagedown")
            await on.until_shown(f"spv-{screen * 10} ", f"{screen * 10 + 1} of 480")
            assert rows.held <= 20 * vm_list.PAGES
        await on.press("end")
        await on.until_shown("spv-479 ", "spv-471 ")
        await on.press("home")
        await on.until_shown("spv-0 ", "spv-9 ")
        assert rows.held <= 20 * vm_list.PAGES < rows.total


async def test_vms_are_filtered_and_sorted_by_the_controller(
    filled: SmallCluster, connection: Cluster
) -> None:
    host = filled.hosts[3]
    async with shown(connection, "vms", size=(100, 24)) as on:
        await on.until_shown("1 of 480")
        await on.press("/", *f"host={host}", "enter")
        text = await on.until_shown("1 of 20", f"/host={host}")
        assert text.count(host) >= 19
        await on.press("/", "ctrl+u", *"7,400-402", "enter")
        await on.until_shown("spv-7 ", "spv-402 ", "1 of 4")
        await on.press("/", "ctrl+u", *"nonsense", "enter")
        await on.until_shown("'nonsense' is no state")
        await on.press("escape")
        await on.until_shown("1 of 480")
        await on.press("s", "s", "s")
        await on.until_shown("HOST↑", min(filled.hosts))
        await on.press("S")
        await on.until_shown("HOST↓", max(filled.hosts))


async def test_held_lists_are_filtered_as_it_is_typed_and_sorted(
    filled: SmallCluster, connection: Cluster
) -> None:
    async with shown(connection, "hosts") as on:
        await on.until_shown("1 of 24")
        await on.press("/", *"rack=r02"[:7], "2")
        some = on.screen.pane.rows.total
        assert 0 < some < 24
        await on.press("escape", "S")
        await on.until_shown("HOST↓")
        assert on.text.splitlines()[3].startswith(max(filled.hosts))


async def test_v_shows_the_vms_of_a_fleet_and_f_those_of_the_next(
    filled: SmallCluster, connection: Cluster
) -> None:
    filled.apply("web")
    filled.scale_and_wait(12, "web")
    async with shown(connection) as on:
        await on.until_shown("1 of 2", "web")
        await on.press("end", "v")
        await on.until_shown("of web", "1 of 12", "web-0 ")
        await on.press("f")
        await on.until_shown("of spv", "1 of 480", "spv-0 ")


async def test_enter_shows_details_and_v_the_vms_of_a_host(
    filled: SmallCluster, connection: Cluster
) -> None:
    async with shown(connection, "hosts") as on:
        await on.until_shown("1 of 24")
        await on.press("down", "enter")
        await on.until_shown(f"hosts: {filled.hosts[1]}", "assigned", "certificate")
        await on.press("q")
        await on.until(lambda text: "certificate" not in text, "closed")
        await on.press("v")
        await on.until_shown("1 of 20", f"/host={filled.hosts[1]}")
        await on.press("enter")
        await on.until_shown("uuid", "generation")


async def test_a_drain_asks_as_the_command_does_and_a_no_changes_nothing(
    filled: SmallCluster, connection: Cluster
) -> None:
    host = filled.hosts[0]
    async with shown(connection, "hosts", size=(120, 40)) as on:
        await on.until_shown("1 of 24")
        await on.press("d")
        await on.until_shown(f"Move 20 VMs off {host}?", "Their disks do not move")
        await on.press("n")
        await on.until_shown("nothing was done")
        assert not host_of(filled, host).draining
        await on.press("d")
        await on.until_shown(f"Move 20 VMs off {host}?")
        await on.press("y")
        await on.until_shown("the drain goes on", "live, draining")
        assert host_of(filled, host).draining
        await on.press("D")
        await on.until_shown(f"{host}: not drained")
        assert not host_of(filled, host).draining


async def test_c_cordons_and_u_uncordons(filled: SmallCluster, connection: Cluster) -> None:
    host = filled.hosts[0]
    async with shown(connection, "hosts", size=(120, 40)) as on:
        await on.until_shown("1 of 24")
        await on.press("c")
        await on.until_shown(f"{host}: cordoned, takes no new VMs; 20 assigned", "live, cordoned")
        assert host_of(filled, host).cordoned
        await on.press("u")
        await on.until_shown(f"{host}: takes VMs")
        assert not host_of(filled, host).cordoned


async def test_a_viewer_is_told_by_the_server_that_it_may_not_drain(
    filled: SmallCluster, tmp_path: Path
) -> None:
    host = filled.hosts[0]
    connection = client(tmp_path, filled.controller.address, Role.VIEWER)
    async with shown(connection, "hosts", size=(120, 40)) as on:
        await on.until_shown("1 of 24")
        await on.press("d")
        await on.until_shown(f"Move 20 VMs off {host}?")  # plans may be seen
        await on.press("y")
        await on.until_shown(_REFUSED)
        await on.press("down")  # what was said is gone
        await on.until(lambda text: _REFUSED not in text, "gone")
        await on.press("c")
        await on.until_shown(_REFUSED)
        assert not host_of(filled, host).draining and not host_of(filled, host).cordoned


async def test_vms_that_fail_are_told_as_problems_and_found_by_their_state(
    cluster: SmallCluster, connection: Cluster
) -> None:
    cluster.apply("spv")
    cluster.scale(24 * 40 + 7, partial=True)
    eventually(lambda: cluster.fleet().unplaced == 7, "7 fit nowhere")
    async with shown(connection, "problems", size=(120, 40)) as on:
        text = await on.until_shown("unplaced", "LEVEL", "VMS")
        assert "7" in text
        await on.press("enter")
        await on.until_shown("problems: ", "level ", "enter leaves")


async def test_a_lost_controller_is_told_with_how_old_it_is_and_the_screen_goes_on(
    expendable: SmallCluster, tmp_path: Path
) -> None:
    expendable.apply("spv")
    expendable.scale_and_wait(20)
    connection = client(tmp_path, expendable.controller.address)
    async with shown(connection, "vms", size=(120, 40)) as on:
        await on.until_shown("1 of 20", "OK")
        expendable.controller.kill()
        await on.until_shown("what is shown is", "old; trying again", "spv-0 ")
        await on.press("end")
        await on.until_shown("20 of 20", "spv-19 ")
        expendable.controller.start()
        expendable.until_live()
        expendable.scale_and_wait(30)
        await on.until(lambda text: "trying again" not in text and "of 30" in text, "goes on")


async def test_states_of_vms_have_their_colours_and_the_chosen_row_stands_out(
    filled: SmallCluster, connection: Cluster
) -> None:
    async with shown(connection, "vms") as on:
        await on.until_shown("1 of 480")
        chosen, other = on.screen.table._lines[1:3]
        assert all(one.style and one.style.reverse for one in chosen)
        running = next(one for one in other if one.text.startswith("running"))
        assert running.style and running.style.color and running.style.color.name == "green"
