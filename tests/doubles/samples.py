"""Samples of `top`, as a controller sends them."""

from __future__ import annotations

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster


def usage(cpu_percent: float, cpu_seconds: float = 1234.5, vms: int = 1) -> wire.Usage:
    return wire.Usage(
        cpu_seconds=cpu_seconds,
        cpu_percent=cpu_percent,
        memory_bytes=vms * (64 << 20),
        vcpus=vms,
        net_rx_per_second=1024 * vms,
        net_tx_per_second=100 * vms,
        block_read_per_second=vms * (2 << 20),
    )


def cluster_sample(domains: int) -> cluster.ClusterTopSample:
    """So many domains of the fleet spv on dom0-1, of which the sums show two."""
    return cluster.ClusterTopSample(
        domains=[
            cluster.DomainTop(
                host="dom0-1",
                sample=wire.DomainSample(
                    vm=wire.VmAddress(fleet_uid="u", index=index),
                    name=f"spv-{index}",
                    state="running",
                    usage=usage(50.5 if index == 0 else 25.0),
                ),
            )
            for index in range(domains)
        ],
        fleets=[wire.FleetSample(fleet_uid="u", fleet="spv", vms=2, usage=usage(75.5, vms=2))],
        hosts=[
            cluster.HostTop(
                host="dom0-1",
                sample=wire.HostSample(
                    cpus=4,
                    memory_bytes=8 << 30,
                    memory_free_bytes=2 << 30,
                    vms=2,
                    usage=usage(75.5, vms=2),
                ),
            )
        ],
        window_seconds=2.0,
    )
