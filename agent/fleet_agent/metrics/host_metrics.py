"""One snapshot of a process's hosts, as metrics. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from fleet_agent.core.model import VmState
from fleet_agent.reporting.board import Board


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class HostsSample:
    """`hosts`: how many, one but for hollow ones. `certificate_end`: seconds since 1970; 0: not
    known. `memory` and `pool`: None where they cannot be read."""

    hosts: int
    version: str
    states: Mapping[str, int]
    converged: int
    watched: int
    refusing: int
    certificate_end: int = 0
    memory: Room | None = None
    pool: Room | None = None


def states_of(boards: Iterable[Board]) -> dict[str, int]:
    """VMs by state; states without any are left out, but for three that alarms ask for."""
    counted: Counter[int] = Counter()
    for board in boards:
        for kin in board.kins.values():
            for array in kin.arrays:
                for state in VmState:
                    if found := array.count(state):
                        counted[state] += found
    always = (VmState.RUNNING, VmState.FAILED, VmState.BOOTING)
    return {
        state.name.lower(): counted[state] for state in VmState if counted[state] or state in always
    }


def host_metrics(sample: HostsSample) -> Iterator[Metric]:
    info = GaugeMetricFamily("megafleet_agent_info", "The agent's version.", labels=("version",))
    info.add_metric((sample.version,), 1)
    yield info
    yield _gauge("hosts", "Hosts of this process: 1, but for hollow ones.", sample.hosts)
    vms = GaugeMetricFamily("megafleet_agent_vms", "VMs of the host by state.", labels=("state",))
    for state, count in sample.states.items():
        vms.add_metric((state,), count)
    yield vms
    yield _gauge("converged", "Hosts that have all that they are to have.", sample.converged)
    yield _gauge("watched", "Hosts whose reports a controller reads.", sample.watched)
    yield _gauge(
        "orders_refused", "Hosts that cannot write down what they are told.", sample.refusing
    )
    if sample.certificate_end:
        yield _gauge(
            "certificate_end_timestamp_seconds", "When the host's certificate ends.",
            sample.certificate_end,
        )  # fmt: skip
    if sample.memory:
        yield _gauge("memory_bytes", "Memory of the host, or of its dom0.", sample.memory.total)
        yield _gauge("memory_available_bytes", "Of it, what is available.", sample.memory.free)
    if sample.pool:
        yield _gauge("pool_bytes", "Where clones lie: all of it.", sample.pool.total)
        yield _gauge("pool_free_bytes", "Of it, what is free.", sample.pool.free)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"megafleet_agent_{name}", text, value=value)


def memory_room(meminfo: str) -> Room | None:
    """From the text of /proc/meminfo; None where it says something else."""
    found: dict[str, int] = {}
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if name in ("MemTotal", "MemAvailable") and words and words[0].isdecimal():
            found[name] = int(words[0]) * 1024
    if len(found) < 2:
        return None
    return Room(found["MemTotal"], found["MemAvailable"])
