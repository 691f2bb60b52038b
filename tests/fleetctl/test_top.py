"""Samples as text, as JSON, and on the live screen."""

from __future__ import annotations

import pytest
from rich.console import Console

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleetctl.commands.vms.top import ORDERS
from fleetctl.terminal.live_top import LiveTop
from fleetctl.views.enum_names import top_order
from fleetctl.views.vms import top as views
from fleetctl.views.vms.top import silent_line, size, top_json, top_text
from tests.doubles.samples import cluster_sample


def test_sums_and_rows_as_text() -> None:
    text = top_text(cluster_sample(2))
    assert text.split("\n") == [
        "2 VMs on 1 host, CPU 75.5 % of 4 CPUs, memory 128 MiB used and 2.0 GiB free, over 2.0 s",
        "",
        "NAME   HOST    STATE    CPU %    CPU s  MEMORY  VCPUS     RX/s   TX/s   READ/s  WRITTEN/s",
        "spv-0  dom0-1  running   50.5  1,234.5  64 MiB      1  1.0 KiB  100 B  2.0 MiB        0 B",
        "spv-1  dom0-1  running   25.0  1,234.5  64 MiB      1  1.0 KiB  100 B  2.0 MiB        0 B",
    ]


def test_several_hosts_and_fleets_have_tables_of_their_own() -> None:
    sample = cluster_sample(2)
    sample.hosts.add(host="dom0-2").sample.vms = 3
    sample.fleets.add(fleet="web", fleet_uid="w", vms=3)
    sample.silent.append("dom0-3")
    text = top_text(sample)
    assert text.count("\n\n") == 4
    assert "FLEET  VMS" in text and "HOST    VMS     FREE" in text
    assert text.endswith("no answer from 1 host: dom0-3")


def test_nothing_runs() -> None:
    assert top_text(cluster.ClusterTopSample()).endswith("No VM runs.")


def test_json_has_numbers_and_names() -> None:
    told = top_json(cluster_sample(1))
    assert told["total"]["vms"] == 2 and told["total"]["hosts"] == 1
    (domain,) = told["domains"]
    assert {name: domain[name] for name in ("name", "fleet", "index", "host", "state")} == {
        "name": "spv-0", "fleet": "spv", "index": 0, "host": "dom0-1", "state": "running"
    }  # fmt: skip
    assert (domain["cpu_percent"], domain["block_read_per_second"]) == (50.5, float(2 << 20))
    assert told["hosts"][0]["host_memory_free_bytes"] == 2 << 30
    assert told["fleets"][0]["fleet"] == "spv" and told["silent"] == []
    usage = {field.name for field in wire.Usage.DESCRIPTOR.fields}
    assert all(usage <= one.keys() for one in (told["total"], domain, *told["hosts"]))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1024, "1.0 KiB"), (64 << 20, "64 MiB"), (1000 << 20, "1.0 GiB"),
     (5 << 40, "5.0 TiB")],
)  # fmt: skip
def test_sizes(value: float, text: str) -> None:
    assert size(value) == text


def test_orders_are_those_of_the_wire() -> None:
    assert [top_order(name) for name in ORDERS] == [1, 2, 3, 4, 5]
    assert ORDERS == views.ORDERS


def test_silent_hosts_are_named_and_counted() -> None:
    assert silent_line(["a\x1b"]) == "no answer from 1 host: a\\x1b"
    assert silent_line([f"h{n}" for n in range(7)]).endswith("h3, h4 and 2 more")


def drawn(sample: cluster.ClusterTopSample | None, height: int, width: int = 100) -> str:
    console = Console(width=width, height=height, record=True, force_terminal=True)
    shown = LiveTop("cpu", 1000, console)
    with shown.live:
        if sample is not None:
            shown.show(sample)
            shown.unreachable("nobody answers")
    return console.export_text()


def test_the_screen_holds_what_it_has_lines_for() -> None:
    text = drawn(cluster_sample(50), height=12)
    assert "2 VMs on 1 host" in text and "spv: 2 VMs" in text
    assert "spv-3 " in text and "spv-30 " not in text
    assert "nobody answers; still waiting" in text and "q leaves" in text
    assert len(text.rstrip("\n").split("\n")) <= 12


def test_the_screen_before_the_first_sample_and_when_narrow() -> None:
    assert "waiting for the first sample" in drawn(None, height=24)
    assert max(map(len, drawn(cluster_sample(3), height=24, width=30).split("\n"))) <= 30


def lines_of(screen: LiveTop, console: Console) -> list[str]:
    with console.capture() as captured:
        console.print(screen._render())
    return captured.get().splitlines()


def test_keys_scroll_sort_filter_and_pause_what_is_shown() -> None:
    console = Console(width=100, height=14, color_system=None)
    screen = LiveTop("cpu", 1000, console)
    screen.show(cluster_sample(50))
    assert any(line.startswith("spv-0 ") for line in lines_of(screen, console))
    assert not any(screen.press(key) for key in ("page down", "down"))
    assert not any(line.startswith("spv-0 ") for line in lines_of(screen, console))
    order, wanted = screen.wanted
    assert order == "cpu" and 20 <= wanted <= 40  # not more than can be seen
    screen.press("s")
    assert screen.wanted[0] == "memory"
    for key in ("/", "v", "-", "4", "2", "enter"):
        screen.press(key)
    rows = [line for line in lines_of(screen, console) if line.startswith("spv-")]
    assert [row.split()[0] for row in rows] == ["spv-42"] and screen.wanted[1] == 1000
    screen.press("escape")
    screen.press(" ")
    screen.show(cluster_sample(1))
    lines = lines_of(screen, console)
    assert "paused: space goes on" in lines[-1] and len(lines) <= 14
    assert sum(line.startswith("spv-") for line in lines) > 1
    assert screen.press("q")
