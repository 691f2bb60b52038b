"""What a controller serves on its port for Prometheus: /metrics, and /hosts for discovery."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import structlog
from prometheus_client import CollectorRegistry, Metric, ProcessCollector

from fleet.serving.metrics_server import MetricsServer
from fleet_controller.metrics.reading import ReplicaReading
from fleet_controller.metrics.replica_metrics import replica_metrics
from fleet_controller.metrics.scale_durations import ScaleDurations
from fleet_controller.metrics.scrape_targets import Target, scrape_targets
from fleet_controller.replica.replica import NotLeading, Replica
from fleet_controller.settings import MetricsSettings

_log = structlog.get_logger("fleet_controller")


class MetricsEndpoint:
    """`run` for as long as the controller runs."""

    def __init__(
        self,
        settings: MetricsSettings,
        replica: Replica,
        certificates: Callable[[], Mapping[str, int]],
        rack_label: str,
    ) -> None:
        self._replica = replica
        self._settings = settings
        self._rack_label = rack_label
        self._reading = ReplicaReading(replica, certificates, each_host=settings.each_host)
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._scales = ScaleDurations(registry, replica.clock)
        self._server = MetricsServer(
            settings.listen, registry, self._read, _log, {"/hosts": self._hosts}
        )

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._server.run())
            group.create_task(self._scales.follow(self._replica))

    async def _read(self) -> Callable[[], Iterable[Metric]]:
        return partial(replica_metrics, self._reading.snapshot())

    async def _hosts(self) -> list[Target]:
        """As the leader knows them; while nobody leads, as the last one did. Of a standby none:
        Prometheus, which asks all replicas, joins what they say."""
        try:
            hosts = self._replica.leader().memory.state.hosts
        except NotLeading:
            past = self._replica.past()
            if past is None:
                return []
            hosts = past.leader.memory.state.hosts
        return scrape_targets(hosts.values(), self._settings.agents_port, self._rack_label)
