"""What domains use, as JSON and as text. Pure: messages in, values out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from fleet.usage_sums import add_usage
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import printable
from fleetctl.output import counted, number
from fleetctl.tables.column import Column, Kind
from fleetctl.tables.listing import Listing, natural_order

# Hosts that are named when they do not answer; the rest are counted.
MAX_SILENT = 5

# What domains are sorted by, as the wire has it: the greatest first, names from a to z.
ORDERS = ("cpu", "memory", "network", "block", "name")

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def top_json(sample: cluster.ClusterTopSample) -> dict[str, Any]:
    """Bytes, seconds, and percent of one CPU."""
    fleets = {one.fleet_uid: one.fleet for one in sample.fleets}
    return {
        "window_seconds": round(sample.window_seconds, 3),
        "total": {"hosts": len(sample.hosts), "vms": _vms(sample), **usage_json(total(sample))},
        "hosts": [
            {
                "host": one.host,
                "vms": one.sample.vms,
                "cpus": one.sample.cpus,
                "host_memory_bytes": one.sample.memory_bytes,
                "host_memory_free_bytes": one.sample.memory_free_bytes,
                **usage_json(one.sample.usage),
            }
            for one in sample.hosts
        ],
        "fleets": [
            {
                "fleet": one.fleet,
                "uid": one.fleet_uid,
                "vms": one.vms,
                **usage_json(one.usage),
            }
            for one in sample.fleets
        ],
        "domains": [
            {
                "name": one.sample.name,
                "fleet": fleets.get(one.sample.vm.fleet_uid) or None,
                "index": one.sample.vm.index,
                "host": one.host,
                "state": one.sample.state,
                **usage_json(one.sample.usage),
            }
            for one in sample.domains
        ],
        "silent": list(sample.silent),
    }


def usage_json(usage: wire.Usage) -> dict[str, Any]:
    return {
        "cpu_seconds": round(usage.cpu_seconds, 3),
        "cpu_percent": round(usage.cpu_percent, 2),
        "memory_bytes": usage.memory_bytes,
        "vcpus": usage.vcpus,
        "net_rx_bytes": usage.net_rx_bytes,
        "net_tx_bytes": usage.net_tx_bytes,
        "block_read_bytes": usage.block_read_bytes,
        "block_write_bytes": usage.block_write_bytes,
        "net_rx_per_second": round(usage.net_rx_per_second, 1),
        "net_tx_per_second": round(usage.net_tx_per_second, 1),
        "block_read_per_second": round(usage.block_read_per_second, 1),
        "block_write_per_second": round(usage.block_write_per_second, 1),
    }


def total(sample: cluster.ClusterTopSample) -> wire.Usage:
    """Of all hosts together."""
    found = wire.Usage()
    for one in sample.hosts:
        add_usage(found, one.sample.usage)
    return found


def top_text(
    sample: cluster.ClusterTopSample,
    width: int | None = None,
    most: int | None = None,
    most_hosts: int | None = None,
) -> str:
    """The sums, each fleet, the first hosts, and the first domains in order."""
    parts = [summary_line(sample)]
    if len(sample.fleets) > 1:
        parts.append(_table(_FLEETS, sample.fleets, width))
    if len(sample.hosts) > 1:
        parts.append(_table(_HOSTS, sample.hosts[:most_hosts], width))
        if more := len(sample.hosts) - len(sample.hosts[:most_hosts]):
            parts[-1] += f"\nand {counted(more, 'more host')}"
    parts.append(domains_text(sample.domains, width, most))
    if sample.silent:
        parts.append(silent_line(sample.silent))
    return "\n\n".join(parts)


def summary_line(sample: cluster.ClusterTopSample) -> str:
    """All hosts in one line."""
    usage = total(sample)
    cpus = sum(one.sample.cpus for one in sample.hosts)
    free = sum(one.sample.memory_free_bytes for one in sample.hosts)
    return (
        f"{counted(_vms(sample), 'VM')} on {counted(len(sample.hosts), 'host')}, "
        f"CPU {usage.cpu_percent:,.1f} % of {counted(cpus, 'CPU')}, "
        f"memory {size(usage.memory_bytes)} used and {size(free)} free, "
        f"over {sample.window_seconds:.1f} s"
    )


def fleet_line(one: wire.FleetSample) -> str:
    """A fleet in one line."""
    usage = one.usage
    return (
        f"{printable(one.fleet)}: {counted(one.vms, 'VM')}, CPU {usage.cpu_percent:,.1f} %, "
        f"memory {size(usage.memory_bytes)}, "
        f"net {size(usage.net_rx_per_second + usage.net_tx_per_second)}/s, "
        f"block {size(usage.block_read_per_second + usage.block_write_per_second)}/s"
    )


def domains_text(
    domains: Iterable[cluster.DomainTop], width: int | None = None, most: int | None = None
) -> str:
    """The first `most` of them, and how many more there are."""
    held = list(domains)
    if not held:
        return "No VM runs."
    text = _table(DOMAIN_COLUMNS, held[:most], width)
    if more := len(held) - len(held[:most]):
        text += f"\nand {counted(more, 'more VM')}; --limit shows more"
    return text


def ordered(domains: Sequence[cluster.DomainTop], order: str) -> list[cluster.DomainTop]:
    """By one of ORDERS, of those that are there."""
    if order == ORDERS[-1]:
        return sorted(domains, key=lambda one: natural_order(one.sample.name))
    return sorted(domains, key=lambda one: -_used(one.sample.usage)[ORDERS.index(order)])


def _used(usage: wire.Usage) -> tuple[float, ...]:
    """In the order of ORDERS."""
    network = usage.net_rx_per_second + usage.net_tx_per_second
    block = usage.block_read_per_second + usage.block_write_per_second
    return usage.cpu_percent, usage.memory_bytes, network, block


def silent_line(silent: Sequence[str]) -> str:
    named = ", ".join(silent[:MAX_SILENT])
    more = f" and {number(len(silent) - MAX_SILENT)} more" if len(silent) > MAX_SILENT else ""
    return printable(f"no answer from {counted(len(silent), 'host')}: {named}{more}")


def size(value: float) -> str:
    """950 B, 1.2 KiB, 64 MiB: three digits at most."""
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"


def _vms(sample: cluster.ClusterTopSample) -> int:
    return sum(one.sample.vms for one in sample.hosts)


R = TypeVar("R")


def _usage_columns(usage: Callable[[R], wire.Usage]) -> tuple[Column[R], ...]:
    return (
        Column("CPU %", lambda one: usage(one).cpu_percent, Kind.NUMBER),
        Column("CPU s", lambda one: usage(one).cpu_seconds, Kind.NUMBER, rank=5),
        Column("MEMORY", lambda one: usage(one).memory_bytes, Kind.BYTES, rank=1),
        Column("VCPUS", lambda one: usage(one).vcpus, Kind.NUMBER, rank=6),
        Column("RX/s", lambda one: usage(one).net_rx_per_second, Kind.BYTES, rank=2),
        Column("TX/s", lambda one: usage(one).net_tx_per_second, Kind.BYTES, rank=2),
        Column("READ/s", lambda one: usage(one).block_read_per_second, Kind.BYTES, rank=3),
        Column("WRITTEN/s", lambda one: usage(one).block_write_per_second, Kind.BYTES, rank=3),
    )


DOMAIN_COLUMNS: tuple[Column[cluster.DomainTop], ...] = (
    Column("NAME", lambda one: one.sample.name, Kind.NAME),
    Column("HOST", lambda one: one.host, Kind.NAME, rank=4),
    Column("STATE", lambda one: one.sample.state, Kind.NAME, rank=7),
    *_usage_columns(lambda one: one.sample.usage),
)
_FLEETS: tuple[Column[wire.FleetSample], ...] = (
    Column("FLEET", lambda one: one.fleet, Kind.NAME),
    Column("VMS", lambda one: one.vms, Kind.NUMBER),
    *_usage_columns(lambda one: one.usage),
)
_HOSTS: tuple[Column[cluster.HostTop], ...] = (
    Column("HOST", lambda one: one.host, Kind.NAME),
    Column("VMS", lambda one: one.sample.vms, Kind.NUMBER),
    Column("FREE", lambda one: one.sample.memory_free_bytes, Kind.BYTES, rank=4),
    *_usage_columns(lambda one: one.sample.usage),
)


def _table(columns: Sequence[Column[R]], rows: Sequence[R], width: int | None) -> str:
    return "\n".join(Listing(columns, width=width).text(rows))
