"""What many hosts' domains use, as one answer: rows in order, and sums of fleets and hosts.

Costs follow the number of hosts and of rows shown: rows past the last one shown are not looked at.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from fleet.usage_sums import add_usage
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.refusals import Reason, Refused

MOST_ROWS = 1000
DEFAULT_INTERVAL = 2.0  # seconds
LEAST_INTERVAL = 0.5
MOST_INTERVAL = 3600.0
# Seconds of a core that one host's sample and one row of it take here, measured over mTLS with
# 300 hosts of 40 and of 250 rows; and the share of a core that all of one `top` may take.
_HOST_COST = 150e-6
_ROW_COST = 0.5e-6
_SHARE_OF_CORE = 0.25
# A host is silent when this many intervals have passed without its sample.
MISSED_INTERVALS = 2.5

_Key = tuple[object, ...]


def checked(request: cluster.ClusterTopRequest) -> None:
    """Raises Refused for an interval or an order that is none."""
    if not 0 <= request.interval_seconds <= MOST_INTERVAL:
        raise Refused(
            Reason.BAD_QUERY,
            f"an interval of {request.interval_seconds:g} s is none; it is 0 to "
            f"{MOST_INTERVAL:g} s, 0 meaning {DEFAULT_INTERVAL:g}",
        )
    if request.order not in wire.TopOrder.values():
        raise Refused(Reason.BAD_QUERY, f"there is no order {request.order}")


def rows_of(request: cluster.ClusterTopRequest) -> int:
    """How many rows are shown at most, and asked of each host."""
    return min(request.limit or MOST_ROWS, MOST_ROWS)


def interval_for(asked: float, vms_by_host: Iterable[int], rows: int) -> float:
    """Seconds between two samples: as asked (0: 2 s), but longer where so many hosts are to
    answer that one controller could not keep up. `vms_by_host`: of each host asked."""
    cost = sum(_HOST_COST + min(rows, vms) * _ROW_COST for vms in vms_by_host)
    return max(asked or DEFAULT_INTERVAL, LEAST_INTERVAL, cost / _SHARE_OF_CORE)


def merged(
    samples: Mapping[str, wire.TopSample],
    fleets: Mapping[str, str],
    silent: Iterable[str],
    rows: int,
    order: int,
    held: Mapping[str, Collection[str]],
) -> cluster.ClusterTopSample:
    """One sample of all hosts from each one's newest. `fleets`: names by uid. `held`: by host, the
    uids of fleets that it has VMs of; what it says of others does not count.

    Each host's rows come in the order asked for; by name that is the text before the last dash,
    then the number after it.
    """
    hosts = sorted(samples)
    key = _KEYS.get(order, _by_cpu)
    first = heapq.merge(*(_keyed(host, samples[host], key) for host in hosts))
    return cluster.ClusterTopSample(
        domains=[
            cluster.DomainTop(host=host, sample=sample)
            for (_, host, _, sample), _ in zip(first, range(rows), strict=False)
        ],
        fleets=_fleet_sums(samples, fleets, held),
        hosts=[cluster.HostTop(host=host, sample=samples[host].host) for host in hosts],
        silent=sorted(silent),
        window_seconds=max(map(_window, samples.values()), default=0.0),
    )


def _window(sample: wire.TopSample) -> float:
    """0 for what is none."""
    seconds = sample.window_seconds
    return seconds if 0 <= seconds <= MISSED_INTERVALS * MOST_INTERVAL else 0.0


def _keyed(
    host: str, sample: wire.TopSample, key: Callable[[wire.DomainSample], _Key]
) -> Iterator[tuple[_Key, str, int, wire.DomainSample]]:
    """Number and host part rows that are alike: samples themselves have no order."""
    for number, row in enumerate(sample.domains):
        yield key(row), host, number, row


def _fleet_sums(
    samples: Mapping[str, wire.TopSample],
    names: Mapping[str, str],
    held: Mapping[str, Collection[str]],
) -> list[wire.FleetSample]:
    sums: dict[str, wire.FleetSample] = {}
    for host, sample in samples.items():
        for one in sample.fleets:
            if one.fleet_uid not in held.get(host, ()):
                continue
            total = sums.get(one.fleet_uid)
            if total is None:
                name = names.get(one.fleet_uid, one.fleet)
                total = sums[one.fleet_uid] = wire.FleetSample(fleet_uid=one.fleet_uid, fleet=name)
            total.vms = min(total.vms + one.vms, 2**32 - 1)
            add_usage(total.usage, one.usage)
    return sorted(sums.values(), key=lambda one: (one.fleet, one.fleet_uid))


def _named(row: wire.DomainSample) -> tuple[str, int, str]:
    stem, _, number = row.name.rpartition("-")
    if stem and number.isascii() and number.isdigit():
        return stem, int(number[:18]), row.name
    return row.name, -1, row.name


def _descending(value: float) -> float:
    """Numbers that are none come last."""
    return -value if not math.isnan(value) else math.inf


def _by_cpu(row: wire.DomainSample) -> _Key:
    return (_descending(row.usage.cpu_percent),)


def _by_memory(row: wire.DomainSample) -> _Key:
    return (-row.usage.memory_bytes,)


def _by_network(row: wire.DomainSample) -> _Key:
    return (_descending(row.usage.net_rx_per_second + row.usage.net_tx_per_second),)


def _by_block(row: wire.DomainSample) -> _Key:
    return (_descending(row.usage.block_read_per_second + row.usage.block_write_per_second),)


_KEYS: dict[int, Callable[[wire.DomainSample], _Key]] = {
    wire.TOP_ORDER_MEMORY: _by_memory,
    wire.TOP_ORDER_NETWORK: _by_network,
    wire.TOP_ORDER_BLOCK: _by_block,
    wire.TOP_ORDER_NAME: _named,
}
