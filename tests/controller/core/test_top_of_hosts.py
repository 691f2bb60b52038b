"""Samples of many hosts as one: rows in order of all together, sums of fleets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core import top
from fleet_controller.core.refusals import Reason, Refused

ORDERS = {
    wire.TOP_ORDER_CPU: lambda u: u.cpu_percent,
    wire.TOP_ORDER_MEMORY: lambda u: u.memory_bytes,
    wire.TOP_ORDER_NETWORK: lambda u: u.net_rx_per_second + u.net_tx_per_second,
    wire.TOP_ORDER_BLOCK: lambda u: u.block_read_per_second + u.block_write_per_second,
}


def row(name: str, **usage: float) -> wire.DomainSample:
    return wire.DomainSample(name=name, usage=wire.Usage(**usage))  # type: ignore[arg-type]


def sample(*rows: wire.DomainSample) -> wire.TopSample:
    return wire.TopSample(domains=rows)


def names(merged: cluster.ClusterTopSample) -> list[str]:
    return [f"{one.host}/{one.sample.name}" for one in merged.domains]


def test_rows_are_the_first_of_all_hosts_together() -> None:
    samples = {
        "h2": sample(row("b", cpu_percent=90), row("d", cpu_percent=10)),
        "h1": sample(row("a", cpu_percent=50), row("c", cpu_percent=20)),
        "h3": sample(),
    }
    merged = top.merged(samples, {}, ["h4"], 3, wire.TOP_ORDER_UNSPECIFIED, {})
    assert names(merged) == ["h2/b", "h1/a", "h1/c"]
    assert [one.host for one in merged.hosts] == ["h1", "h2", "h3"]
    assert merged.silent == ["h4"]


def test_by_name_numbers_count_as_numbers() -> None:
    samples = {
        "h1": sample(row("spv-2"), row("spv-10"), row("web-1")),
        "h2": sample(row("alone"), row("spv-3"), row("spv-20")),
    }
    merged = top.merged(samples, {}, [], 10, wire.TOP_ORDER_NAME, {})
    assert [one.sample.name for one in merged.domains] == [
        "alone", "spv-2", "spv-3", "spv-10", "spv-20", "web-1",
    ]  # fmt: skip


def test_rows_that_are_alike_and_numbers_that_are_none_are_no_trouble() -> None:
    alike = [row("x", cpu_percent=1), row("x", cpu_percent=1), row("n", cpu_percent=math.nan)]
    merged = top.merged({"h1": sample(*alike), "h2": sample(*alike)}, {}, [], 6, 0, {})
    assert [one.sample.name for one in merged.domains] == ["x", "x", "x", "x", "n", "n"]


def fleet(uid: str, vms: int, **usage: float) -> wire.FleetSample:
    return wire.FleetSample(
        fleet_uid=uid, fleet=f"as-{uid}", vms=vms, usage=wire.Usage(**usage)  # type: ignore[arg-type]
    )  # fmt: skip


def test_fleets_are_summed_over_hosts_and_named_by_the_controller() -> None:
    samples = {
        "h1": wire.TopSample(
            fleets=[fleet("u", 2, cpu_seconds=1.5, memory_bytes=8, vcpus=2, net_rx_bytes=2**63)],
            window_seconds=2.0,
        ),
        "h2": wire.TopSample(
            fleets=[
                fleet("u", 3, cpu_seconds=0.5, memory_bytes=4, vcpus=3, net_rx_bytes=2**63),
                fleet("v", 1, cpu_percent=7),
            ],
            window_seconds=2.5,
        ),
    }
    merged = top.merged(samples, {"u": "spv"}, [], 10, 0, {"h1": {"u"}, "h2": {"u", "v"}})
    v, u = merged.fleets
    assert (u.fleet, u.vms, v.fleet, v.vms) == ("spv", 5, "as-v", 1)
    assert u.usage == wire.Usage(cpu_seconds=2.0, memory_bytes=12, vcpus=5, net_rx_bytes=2**64 - 1)
    assert v.usage == wire.Usage(cpu_percent=7)
    assert merged.window_seconds == 2.5


def test_what_one_host_says_spoils_no_sum_of_others() -> None:
    lies = [
        fleet("u", 2**32 - 1, cpu_percent=math.nan, cpu_seconds=math.inf, net_tx_per_second=-1e9),
        fleet("v", 2**32 - 1, cpu_percent=1e300),
    ]
    samples = {
        "h1": wire.TopSample(fleets=lies, window_seconds=math.inf),
        "h2": wire.TopSample(fleets=[fleet("u", 3, cpu_percent=7), fleet("v", 1, cpu_percent=5)]),
        "h3": wire.TopSample(window_seconds=math.nan),
        "h4": wire.TopSample(window_seconds=2.0),
    }
    merged = top.merged(samples, {}, [], 10, 0, {"h1": {"u"}, "h2": {"u", "v"}})
    u, v = merged.fleets
    assert u.usage == wire.Usage(cpu_percent=7), "what is no number adds nothing"
    assert (v.vms, v.usage.cpu_percent) == (1, 5), "it has none of this fleet"
    assert merged.window_seconds == 2.0


def test_nobody_answered() -> None:
    assert top.merged({}, {}, ["h1"], 10, 0, {}) == cluster.ClusterTopSample(silent=["h1"])


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=5),
    st.integers(1, 12),
    st.sampled_from(sorted(ORDERS)),
)
def test_no_row_left_out_comes_before_one_shown(
    hosts: Sequence[Sequence[int]], limit: int, order: wire.TopOrder.ValueType
) -> None:
    """Whatever the hosts have, each having told its own first rows alone."""
    field = {
        wire.TOP_ORDER_CPU: "cpu_percent", wire.TOP_ORDER_MEMORY: "memory_bytes",
        wire.TOP_ORDER_NETWORK: "net_tx_per_second", wire.TOP_ORDER_BLOCK: "block_read_per_second",
    }[order]  # fmt: skip
    samples = {
        f"h{number}": sample(
            *(row("x", **{field: value}) for value in sorted(values, reverse=True)[:limit])
        )
        for number, values in enumerate(hosts)
    }
    shown = [ORDERS[order](one.sample.usage) for one in
             top.merged(samples, {}, [], limit, order, {}).domains]  # fmt: skip
    everything = sorted((value for values in hosts for value in values), reverse=True)
    assert shown == everything[:limit]


@pytest.mark.parametrize("interval", [-1.0, 3601.0, math.inf, math.nan])
def test_intervals_that_are_none(interval: float) -> None:
    with pytest.raises(Refused) as caught:
        top.checked(cluster.ClusterTopRequest(interval_seconds=interval))
    assert caught.value.reason is Reason.BAD_QUERY


def test_orders_that_are_none() -> None:
    with pytest.raises(Refused):
        top.checked(cluster.ClusterTopRequest(order=99))  # type: ignore[arg-type]


def test_the_interval_grows_with_what_one_controller_would_have_to_read() -> None:
    assert top.interval_for(0, [250] * 10, 1000) == top.DEFAULT_INTERVAL
    assert top.interval_for(0.01, [250], 1000) == top.LEAST_INTERVAL
    assert top.interval_for(10, [250] * 10, 1000) == 10
    assert 2.5 < top.interval_for(2, [250] * 4480, 40) < 3.5
    assert 4 < top.interval_for(2, [250] * 4480, 1000) < 6


def test_rows_asked_of_each_host_are_bounded() -> None:
    assert [top.rows_of(cluster.ClusterTopRequest(limit=n)) for n in (0, 5, 10**6)] == [
        1000, 5, 1000,
    ]  # fmt: skip
