"""What domains use: rates from two looks at their counters, sorted, bounded and added up."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fleet.v1 import agent_pb2 as wire

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class DomainCounters:
    """One of our domains at one moment. Counters begin at 0 with each of its lives, which
    `life` tells apart; network as the guest sees it."""

    fleet_uid: str
    index: int
    name: str
    state: str  # running, blocked, paused, shutdown, crashed, dying, as the hypervisor says
    life: int
    cpu_ns: int
    memory_bytes: int
    vcpus: int
    net_rx_bytes: int = 0
    net_tx_bytes: int = 0
    block_read_bytes: int = 0
    block_write_bytes: int = 0


@dataclass(frozen=True, slots=True)
class HostCounters:
    """The host itself; memory that is free is free for guests."""

    cpus: int
    memory_bytes: int
    memory_free_bytes: int


@dataclass(frozen=True, slots=True)
class Counters:
    """One look. `at`: seconds of a monotonic clock."""

    at: float
    host: HostCounters
    domains: tuple[DomainCounters, ...]


def sample(
    before: Counters,
    after: Counters,
    *,
    fleet_uid: str = "",
    order: int = wire.TOP_ORDER_CPU,
    limit: int = 0,
) -> wire.TopSample:
    """What was used between two looks: the first `limit` domains in order (0: all), sums over
    all of the fleet that was asked for (empty: all fleets)."""
    window = max(0.0, after.at - before.at)
    known = {(one.fleet_uid, one.index): one for one in before.domains}
    domains = [
        _domain(known.get((one.fleet_uid, one.index)), one, window)
        for one in after.domains
        if not fleet_uid or one.fleet_uid == fleet_uid
    ]
    usages = [one.usage for one in domains]
    host = wire.HostSample(
        cpus=after.host.cpus,
        memory_bytes=after.host.memory_bytes,
        memory_free_bytes=after.host.memory_free_bytes,
        vms=len(domains),
        usage=total(usages),
    )
    return wire.TopSample(
        domains=ordered(domains, order, limit),
        fleets=_fleets(domains),
        host=host,
        window_seconds=window,
    )


def rate(before: int, after: int, window: float) -> float:
    """A second; 0 where a counter fell back, or no time has passed."""
    return (after - before) / window if window > 0 and after > before else 0.0


def total(usages: Iterable[wire.Usage]) -> wire.Usage:
    """The sum of all."""
    held = list(usages)
    return wire.Usage(**{name: sum(getattr(one, name) for one in held) for name in _FIELDS})


def ordered(domains: list[wire.DomainSample], order: int, limit: int) -> list[wire.DomainSample]:
    """The first ones: the greatest users, by name where they use the same."""
    key = _KEYS.get(order, _KEYS[wire.TOP_ORDER_CPU])

    def place(one: wire.DomainSample) -> tuple[float, str, int]:
        return -key(one.usage), one.name.rpartition("-")[0], one.vm.index

    return heapq.nsmallest(limit, domains, key=place) if limit else sorted(domains, key=place)


def _domain(
    before: DomainCounters | None, after: DomainCounters, window: float
) -> wire.DomainSample:
    """One that was not there before, or has begun a new life, has no rates yet."""
    if before is None or before.life != after.life:
        before = after

    def rated(name: str) -> float:
        return rate(getattr(before, name), getattr(after, name), window)

    usage = wire.Usage(
        cpu_seconds=after.cpu_ns / NANOSECONDS,
        cpu_percent=100 * rated("cpu_ns") / NANOSECONDS,
        memory_bytes=after.memory_bytes,
        vcpus=after.vcpus,
        net_rx_bytes=after.net_rx_bytes,
        net_tx_bytes=after.net_tx_bytes,
        block_read_bytes=after.block_read_bytes,
        block_write_bytes=after.block_write_bytes,
        net_rx_per_second=rated("net_rx_bytes"),
        net_tx_per_second=rated("net_tx_bytes"),
        block_read_per_second=rated("block_read_bytes"),
        block_write_per_second=rated("block_write_bytes"),
    )
    vm = wire.VmAddress(fleet_uid=after.fleet_uid, index=after.index)
    return wire.DomainSample(vm=vm, name=after.name, state=after.state, usage=usage)


def _fleets(domains: Iterable[wire.DomainSample]) -> list[wire.FleetSample]:
    members: dict[str, list[wire.DomainSample]] = {}
    for one in domains:
        members.setdefault(one.vm.fleet_uid, []).append(one)
    return [
        wire.FleetSample(
            fleet_uid=uid,
            fleet=of[0].name.rpartition("-")[0],
            vms=len(of),
            usage=total(one.usage for one in of),
        )
        for uid, of in sorted(members.items(), key=lambda item: (item[1][0].name, item[0]))
    ]


_FIELDS = tuple(field.name for field in wire.Usage.DESCRIPTOR.fields)
_KEYS: Mapping[int, Callable[[wire.Usage], float]] = {
    wire.TOP_ORDER_CPU: lambda usage: usage.cpu_percent,
    wire.TOP_ORDER_MEMORY: lambda usage: float(usage.memory_bytes),
    wire.TOP_ORDER_NETWORK: lambda usage: usage.net_rx_per_second + usage.net_tx_per_second,
    wire.TOP_ORDER_BLOCK: lambda usage: usage.block_read_per_second + usage.block_write_per_second,
    wire.TOP_ORDER_NAME: lambda usage: 0.0,
}
