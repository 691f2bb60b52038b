"""Counts what drivers were asked to do: StepMeasures, kept by prometheus-client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import prometheus_client as prometheus

from fleet.serving.boot_buckets import BOOT_BOUNDS
from fleet_agent.core.model import StepFailure, StepKind

_CALLS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class StepCounters:
    """Of one agent, or of several in one process."""

    def __init__(self, registry: prometheus.CollectorRegistry) -> None:
        self._done = prometheus.Counter(
            "megafleet_agent_done", "VMs for which a step was done.", ["step"], registry=registry
        )
        self._failed = prometheus.Counter(
            "megafleet_agent_failures", "VMs for which a step failed, by kind of failure.",
            ["step", "kind"], registry=registry,
        )  # fmt: skip
        self._calls = prometheus.Histogram(
            "megafleet_agent_call_seconds", "What a driver's call for a batch of VMs took.",
            ["step"], buckets=_CALLS, registry=registry,
        )  # fmt: skip
        self._boots = prometheus.Histogram(
            "megafleet_agent_boot_seconds", "From a VM's start until it was ready.",
            buckets=BOOT_BOUNDS, registry=registry,
        )  # fmt: skip
        for step in StepKind:  # there from the beginning: a rate needs a first value
            self._done.labels(step)

    def called(self, kind: StepKind, done: int, seconds: float) -> None:
        self._done.labels(kind).inc(done)
        self._calls.labels(kind).observe(seconds)

    def failed(self, kind: StepKind, failures: Sequence[StepFailure]) -> None:
        for why, count in Counter(one.kind for one in failures).items():
            self._failed.labels(kind, why).inc(count)

    def booted(self, vms: int, seconds: float) -> None:
        for _ in range(vms):
            self._boots.observe(seconds)
