"""Decides how large a sandbox this machine admits, and into which processes it is split. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from fleetctl.sandbox.planning.machine import Machine

DEFAULT_HOSTS = 4_480
DEFAULT_PER_HOST = 250
DEFAULT_HOSTS_A_RACK = 40
# The job of the README, and the capacity it is given on.
FULL_TOTAL = 1_000_000
FULL_CAPACITY = DEFAULT_HOSTS * DEFAULT_PER_HOST

# One process of hollow hosts keeps one core busy, and a fault in it takes all its hosts along.
MOST_HOSTS_A_PROCESS = 1_500

MIB = 1 << 20
# Bytes, measured on a full scale and rounded up; `python -m tests.bench` shows them again.
BASE_MEMORY = 300 * MIB  # etcd, the controller and the interpreters, without hosts
MEMORY_A_HOST = 512 * 1024  # both ends of its link, 250 VMs, what the kernel holds, a reserve
# What is left of the available memory for everything else.
MEMORY_SHARE = 0.8

# Descriptors, as fleet-hollow reckons them: a listener, the controller's connection, the host's
# own announcement, and a spare.
DESCRIPTORS_A_HOST = 4
DESCRIPTORS_A_LINK = 2  # in the controller: the link, and the host's announcement
DESCRIPTORS_A_PROCESS = 256
# Listening ports and the ports of announcements, of those the kernel chooses.
PORTS_A_HOST = 3


@dataclass(frozen=True, slots=True)
class Size:
    """`processes` are the hosts of each process, as [first, last]; `reasons` are sentences that
    say why it is smaller than what was asked for, empty where it is not."""

    hosts: int
    processes: tuple[tuple[int, int], ...]
    reasons: tuple[str, ...]


def fit(asked: int, machine: Machine) -> Size:
    """The largest sandbox of at most `asked` hosts that fits; none only where none are asked for,
    for a cluster whose hosts are elsewhere."""
    least = min(asked, 1)
    limits = {
        "memory": int((machine.memory_bytes * MEMORY_SHARE - BASE_MEMORY) // MEMORY_A_HOST),
        "descriptors": (machine.descriptors - DESCRIPTORS_A_PROCESS) // DESCRIPTORS_A_LINK,
        "ports": machine.ports // PORTS_A_HOST,
    }
    hosts = max(least, min(asked, *limits.values()))
    reasons = tuple(
        f"{hosts:,} hosts instead of {asked:,}: {_sentence(limit, machine)}"
        for limit, admits in limits.items()
        if hosts < asked and admits < asked and max(least, admits) == hosts
    )
    return Size(hosts, split(hosts, machine), reasons)


def split(hosts: int, machine: Machine) -> tuple[tuple[int, int], ...]:
    """Hosts 1..`hosts` in consecutive runs whose lengths differ by at most one."""
    if not hosts:
        return ()
    by_descriptors = max(1, (machine.descriptors - DESCRIPTORS_A_PROCESS) // DESCRIPTORS_A_HOST)
    most = min(MOST_HOSTS_A_PROCESS, by_descriptors)
    count = min(hosts, max(machine.cores, -(-hosts // most)))
    bounds = [hosts * part // count for part in range(count + 1)]
    return tuple((low + 1, high) for low, high in pairwise(bounds))


def demo_total(hosts: int, per_host: int) -> int:
    """As many VMs as leave the share of the capacity free that a million leaves free of 4,480
    hosts of 250, in two digits and zeros."""
    exact: int = max(1, hosts * per_host * FULL_TOTAL // FULL_CAPACITY)
    unit: int = 10 ** max(0, len(str(exact)) - 2)
    return min(FULL_TOTAL, exact // unit * unit)


def _sentence(limit: str, machine: Machine) -> str:
    if limit == "memory":
        return f"{machine.memory_bytes // MIB:,} MiB of memory are available"
    if limit == "descriptors":
        return (
            f"a process may open {machine.descriptors:,} files here "
            f"(ulimit -Hn raises it, where allowed)"
        )
    return f"{machine.ports:,} ports are free in net.ipv4.ip_local_port_range"
