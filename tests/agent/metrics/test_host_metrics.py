"""What Prometheus is shown of a host."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, Metric

from fleet.keys import Kin
from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.model import StepFailure, StepKind, VmState
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.metrics.endpoint import sample
from fleet_agent.metrics.host_metrics import HostsSample, Room, host_metrics, memory_room, states_of
from fleet_agent.metrics.step_counters import StepCounters
from fleet_agent.reporting.board import Board, KinStates


def values(metrics: Iterable[Metric]) -> dict[tuple[str, ...], float]:
    return {
        (one.name.removeprefix("megafleet_agent_"), *one.labels.values()): one.value
        for metric in metrics
        for one in metric.samples
    }


class Host:
    """An agent, as far as it is told."""

    def __init__(self) -> None:
        self.board = Board()
        self.facts = types.HostFacts(certificate_expires_unix=99)
        self.watched = True


def test_vms_are_counted_by_state() -> None:
    boards = [Board(), Board()]
    for board in boards:
        states = board.kins[Kin("uid", 1, 1)] = KinStates(IndexSet([(0, 5), (9, 12)]))
        states.set_state(IndexSet([(0, 5)]), VmState.RUNNING)
        states.set_state(IndexSet([(9, 12)]), VmState.STOPPING)
    assert states_of(boards) == {"running": 10, "stopping": 6, "failed": 0, "booting": 0}


def test_what_cannot_be_read_is_left_out() -> None:
    told = values(host_metrics(HostsSample(1, "1.0", {"running": 3}, 1, 0, 0)))
    assert told["vms", "running"] == 3
    assert not any("pool" in key[0] or "memory" in key[0] for key in told)
    assert memory_room("nothing of it\nMemTotal: much\n") is None
    assert memory_room("MemTotal: 8 kB\nMemFree: 1 kB\nMemAvailable: 2 kB\n") == Room(8192, 2048)


async def test_a_pool_that_does_not_work_does_not_keep_back_the_rest() -> None:
    async def broken() -> Room:
        raise DriverError("the pool is gone")

    told = await sample([Host()], broken)
    assert told.pool is None
    assert (told.hosts, told.watched, told.certificate_end) == (1, 1, 99)


async def test_a_pool_that_does_not_answer_is_left_out_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silent() -> Room:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("fleet_agent.metrics.endpoint._POOL_SECONDS", 0.01)
    assert (await sample([Host()], silent)).pool is None


def test_steps_are_counted_with_what_they_took() -> None:
    registry = CollectorRegistry()
    counters = StepCounters(registry)
    counters.called(StepKind.CLONE, 5, 0.2)
    counters.failed(StepKind.CLONE, [StepFailure(n, "no_space", "full") for n in range(3)])
    counters.booted(5, 1.5)
    told = values(registry.collect())
    assert told["done_total", "clone"] == 5
    assert told["done_total", "destroy"] == 0
    assert told["failures_total", "clone", "no_space"] == 3
    assert told["call_seconds_sum", "clone"] == 0.2
    assert told["boot_seconds_count",] == 5
    assert told["boot_seconds_sum",] == 7.5
