"""What an agent, or a process of hollow hosts, serves on its port for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry, Metric, ProcessCollector

from fleet.serving.metrics_server import MetricsServer
from fleet.v1 import types_pb2 as types
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.metrics.host_metrics import HostsSample, Room, host_metrics, memory_room, states_of
from fleet_agent.metrics.step_counters import StepCounters
from fleet_agent.reporting.board import Board

log = structlog.get_logger()

# A pool that does not answer is left out, so that the rest is still told.
_POOL_SECONDS = 2.0


class Told(Protocol):
    """What is told of an agent."""

    board: Board

    @property
    def facts(self) -> types.HostFacts: ...

    @property
    def watched(self) -> bool: ...


class MetricsEndpoint:
    """`counters` are given to the agents; `run` for as long as the process runs."""

    def __init__(self, listen: str) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.counters = StepCounters(self._registry)
        self._listen = listen

    async def run(self, agents: Sequence[Told], pool: PoolReading | None = None) -> None:
        """Until cancelled. `pool`: where the one agent's clones lie."""

        async def read() -> Callable[[], Iterable[Metric]]:
            return partial(host_metrics, await sample(agents, pool))

        await MetricsServer(self._listen, self._registry, read, log).run()


class PoolReading(Protocol):
    """Raises what drivers raise."""

    async def __call__(self) -> Room: ...


async def sample(agents: Sequence[Told], pool: PoolReading | None) -> HostsSample:
    """`pool`: None: there is none of its own."""
    boards = [agent.board for agent in agents]
    ends = [end for one in agents if (end := one.facts.certificate_expires_unix) > 0]
    return HostsSample(
        hosts=len(agents),
        version=version("megafleet"),
        states=states_of(boards),
        converged=sum(board.converged for board in boards),
        watched=sum(agent.watched for agent in agents),
        refusing=sum(bool(board.orders_refused) for board in boards),
        certificate_end=min(ends, default=0),
        memory=memory_here(),
        pool=await _pool(pool) if pool else None,
    )


def memory_here() -> Room | None:
    """The kernel's own account: nothing waits for a disk."""
    return memory_room(Path("/proc/meminfo").read_text())


async def _pool(pool: PoolReading) -> Room | None:
    try:
        async with asyncio.timeout(_POOL_SECONDS):
            return await pool()
    except (DriverError, TimeoutError):
        return None
