"""Rates, order, bounds and sums of what domains use; and looks that callers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from fleet.v1 import agent_pb2 as wire
from fleet_agent.api.shared_samples import LOOK_DEADLINE, SamplesRequest, Sampling
from fleet_agent.api.top import samples_request
from fleet_agent.core.top import Counters, DomainCounters, HostCounters, rate, sample
from fleet_agent.drivers.ports.errors import DriverError
from tests.virtual_loop import virtual

HOST = HostCounters(4, 8 << 30, 2 << 30)
S = 1_000_000_000


def domain(index: int, cpu_ns: int = 0, fleet: str = "spv", **more: int) -> DomainCounters:
    return DomainCounters(
        f"uid-{fleet}", index, f"{fleet}-{index}", "running", more.pop("life", 1), cpu_ns,
        more.pop("memory_bytes", 64 << 20), 1, **more,
    )  # fmt: skip


def looks(
    before: list[DomainCounters], after: list[DomainCounters], window: float = 2.0
) -> tuple[Counters, Counters]:
    return (
        Counters(100.0, HOST, tuple(before)),
        Counters(100.0 + window, HOST, tuple(after)),
    )


@pytest.mark.parametrize(
    ("before", "after", "window", "expected"),
    [(0, 10, 2.0, 5.0), (10, 10, 2.0, 0.0), (10, 5, 2.0, 0.0), (0, 10, 0.0, 0.0)],
)
def test_rates(before: int, after: int, window: float, expected: float) -> None:
    assert rate(before, after, window) == expected


def test_a_domain_between_two_looks() -> None:
    before = domain(3, 1 * S, net_rx_bytes=100, block_write_bytes=1000)
    after = domain(3, 2 * S, net_rx_bytes=300, net_tx_bytes=50, block_write_bytes=1000)
    (one,) = sample(*looks([before], [after])).domains
    assert (one.vm.fleet_uid, one.vm.index, one.name, one.state) == (
        "uid-spv", 3, "spv-3", "running"
    )  # fmt: skip
    assert (one.usage.cpu_seconds, one.usage.cpu_percent) == (2.0, 50.0)
    assert (one.usage.net_rx_per_second, one.usage.net_tx_per_second) == (100.0, 25.0)
    assert (one.usage.block_write_per_second, one.usage.net_rx_bytes) == (0.0, 300)


@pytest.mark.parametrize(
    "before",
    [[], [domain(3, 9 * S)], [domain(3, 1 * S, life=7)], [domain(4, 1 * S)]],
    ids=["new", "fell back", "another life", "another domain"],
)
def test_without_a_like_before_there_is_no_rate(before: list[DomainCounters]) -> None:
    (one,) = sample(*looks(before, [domain(3, 2 * S)])).domains
    assert (one.usage.cpu_percent, one.usage.cpu_seconds) == (0.0, 2.0)


def names(told: wire.TopSample) -> list[str]:
    return [one.name for one in told.domains]


def test_order_and_limit() -> None:
    after = [
        domain(10, 3 * S, memory_bytes=1, net_rx_bytes=1),
        domain(2, 2 * S, memory_bytes=3, net_tx_bytes=5),
        domain(9, 1 * S, memory_bytes=2, block_read_bytes=7),
    ]
    zero = [domain(index) for index in (10, 2, 9)]
    both = looks(zero, after)
    assert names(sample(*both)) == ["spv-10", "spv-2", "spv-9"]
    assert names(sample(*both, order=wire.TOP_ORDER_MEMORY)) == ["spv-2", "spv-9", "spv-10"]
    assert names(sample(*both, order=wire.TOP_ORDER_NETWORK)) == ["spv-2", "spv-10", "spv-9"]
    assert names(sample(*both, order=wire.TOP_ORDER_BLOCK)) == ["spv-9", "spv-2", "spv-10"]
    assert names(sample(*both, order=wire.TOP_ORDER_NAME)) == ["spv-2", "spv-9", "spv-10"]
    assert names(sample(*both, order=99)) == names(sample(*both))
    limited = sample(*both, limit=2)
    assert names(limited) == ["spv-10", "spv-2"]
    assert (limited.host.vms, limited.host.usage.cpu_seconds) == (3, 6.0)


def test_sums_by_fleet_and_host_and_of_one_fleet_alone() -> None:
    after = [domain(1, 2 * S), domain(2, 4 * S), domain(1, 6 * S, fleet="my-web")]
    both = looks([replace(one, cpu_ns=0) for one in after], after)
    told = sample(*both)
    assert [(one.fleet, one.fleet_uid, one.vms) for one in told.fleets] == [
        ("my-web", "uid-my-web", 1), ("spv", "uid-spv", 2)
    ]  # fmt: skip
    assert [one.usage.cpu_percent for one in told.fleets] == [300.0, 300.0]
    assert (told.host.usage.cpu_percent, told.host.vms, told.host.cpus) == (600.0, 3, 4)
    assert (told.host.memory_bytes, told.host.memory_free_bytes) == (8 << 30, 2 << 30)
    assert told.window_seconds == 2.0
    only = sample(*both, fleet_uid="uid-spv")
    assert (names(only), only.host.vms, len(only.fleets)) == (["spv-2", "spv-1"], 2, 1)


# ---- sampling ------------------------------------------------------------------------------


class Counted:
    """A sampler that counts how often it is asked, and takes a while."""

    def __init__(self, seconds: float = 0.1) -> None:
        self.looks = 0
        self.at_once = 0
        self._seconds = seconds

    async def counters(self) -> tuple[HostCounters, tuple[DomainCounters, ...]]:
        self.at_once += 1
        assert self.at_once == 1
        self.looks += 1
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self.at_once -= 1
        now = asyncio.get_running_loop().time()
        return HOST, (domain(1, int(now * S / 4)),)

    async def close(self) -> None: ...


def sampling(sampler: Counted) -> Sampling:
    return Sampling(sampler, asyncio.get_running_loop().time)


async def taken(of: AsyncGenerator[wire.TopSample, None], count: int) -> list[wire.TopSample]:
    found = []
    async with aclosing(of) as samples:
        async for one in samples:
            found.append(one)
            if len(found) == count:
                break
    return found


@virtual
async def test_one_sample_is_over_an_interval() -> None:
    sampler = Counted()
    (one,) = await taken(sampling(sampler).samples(SamplesRequest(samples=1)), 9)
    assert one.window_seconds == pytest.approx(1.0)
    assert one.domains[0].usage.cpu_percent == pytest.approx(25.0)
    assert sampler.looks == 2


@virtual
async def test_callers_share_looks() -> None:
    sampler = Counted()
    shared = sampling(sampler)
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(taken(shared.samples(SamplesRequest(interval=2.0, samples=3)), 9))
    assert sampler.looks == 4


@virtual
async def test_nobody_asks_and_nothing_is_looked_at() -> None:
    sampler = Counted()
    shared = sampling(sampler)
    await taken(shared.samples(SamplesRequest(interval=1.0)), 2)
    looks = sampler.looks
    await asyncio.sleep(1000)
    assert sampler.looks == looks
    assert len(asyncio.all_tasks()) == 1


@virtual
async def test_a_caller_that_leaves_while_it_looks_takes_nothing_from_others() -> None:
    shared = sampling(Counted(seconds=0.3))
    async with asyncio.TaskGroup() as group:
        left = group.create_task(taken(shared.samples(SamplesRequest(samples=1)), 1))
        stays = group.create_task(taken(shared.samples(SamplesRequest(samples=1)), 1))
        await asyncio.sleep(0.1)
        left.cancel()
        assert len(await stays) == 1


@virtual
async def test_a_look_that_hangs_is_an_error() -> None:
    with pytest.raises(DriverError, match="did not say what its domains use within 30 s"):
        await taken(sampling(Counted(LOOK_DEADLINE * 2)).samples(SamplesRequest(samples=1)), 1)


@pytest.mark.parametrize("asked", [float("nan"), float("inf"), -3.0, 0.0])
@virtual
async def test_the_interval_is_bounded_from_below(asked: float) -> None:
    wish = samples_request(wire.TopRequest(interval_seconds=asked, samples=1))
    (one,) = await taken(sampling(Counted()).samples(wish), 1)
    assert one.window_seconds == pytest.approx(1.0)


def test_a_wish_is_what_was_asked() -> None:
    request: Any = wire.TopRequest(
        interval_seconds=5, fleet_uid="u", limit=3, order=wire.TOP_ORDER_NAME, samples=2
    )
    assert samples_request(request) == SamplesRequest(5.0, "u", 3, wire.TOP_ORDER_NAME, 2)
