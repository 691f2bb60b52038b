"""What the page asks beside frames: how the cluster stands, and one host, VM or console."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import Failed, NoAnswer
from fleetctl.views.cluster.status import status_json
from fleetctl.views.vms.console import as_text
from fleetctl.views.vms.vms import detail_json, fleet_of
from fleetctl.wall.host_cells import host_cells_json
from megafleet.connection.cluster import Cluster
from megafleet.connection.console_call import ConsoleCall

Json: TypeAlias = "dict[str, Any]"
_EVENTS = 50
# For so many seconds all pages are told the same: each of them asks once a second.
_FRESH = 0.8
_MOST_KEPT = 64
# Of a console's log, and seconds until a host has to have told it.
_LOG_BYTES = 8 * 1024
_HOST_SECONDS = 8.0
_CPU_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Told:
    at: float
    answer: Json


class Questions:
    """Asked by many threads. `new_cluster` makes a connection that a single thread uses;
    `event_json` says how an event is told. All raise Trouble."""

    def __init__(
        self, new_cluster: Callable[[], Cluster], event_json: Callable[[cluster.Event], Json]
    ) -> None:
        self._event_json = event_json
        self._asked = new_cluster()
        self._one_at_a_time = threading.Lock()
        self._told: dict[str, _Told] = {}
        # Hosts answer late, and never hold up what the leader answers at once.
        self._asked_of_hosts = new_cluster()
        self._one_host_at_a_time = threading.Lock()

    def status(self) -> Json:
        return self._fresh(
            "status",
            lambda: status_json(self._ask(lambda stub: stub.Status, cluster.StatusRequest())),
        )

    def version(self) -> Json:
        def told() -> Json:
            answer = self._ask(lambda stub: stub.Instant, cluster.InstantRequest())
            endpoint = self._asked.context.endpoints[0]
            return {"leader": answer.leadership, "cluster": endpoint}

        return self._fresh("version", told)

    def events(self, after: int) -> Json:
        def told() -> Json:
            answer = self._ask(
                lambda stub: stub.ListEvents, cluster.ListEventsRequest(limit=_EVENTS, after=after)
            )
            events = [self._event_json(one) for one in answer.events]
            return {"events": events, "cursor": answer.next}

        return self._fresh(f"events {after}", told)

    def host(self, host_id: str) -> Json:
        request = cluster.GetHostRequest(id=host_id)
        return self._fresh(
            f"host {host_id}",
            lambda: host_cells_json(self._ask(lambda stub: stub.GetHost, request)),
        )

    def vm(self, fleet: str, index: int) -> Json:
        """As `vms show -o json`."""
        request = cluster.GetVmRequest(fleet=fleet, index=index)
        return self._fresh(
            f"vm {fleet} {index}", lambda: detail_json(self._ask(lambda stub: stub.GetVm, request))
        )

    def console(self, fleet: str, index: int) -> Json:
        """The end of what the VM has printed, as lines for a screen."""
        with self._one_host_at_a_time:
            connection = self._asked_of_hosts
            request = cluster.GetVmRequest(fleet=fleet, index=index)
            detail = connection.call(lambda stub: stub.GetVm, request)
            name = fleet_of(detail.fleet).domain_name(index)
            if not detail.host:
                raise Failed(f"{name} is on no host and has no console")
            address = agent.VmAddress(fleet_uid=detail.fleet.uid, index=index)
            first = agent.ConsoleInput(
                vm=address, read_only=True, log_only=True, log_bytes=_LOG_BYTES
            )
            with ConsoleCall(connection, name, first) as call:
                return {"name": name, "text": as_text(_all_of(call, name))}

    def cpu(self, host_id: str) -> Json:
        """What each VM of the host uses of one CPU, in percent, over a second."""
        with self._one_host_at_a_time:
            request = cluster.ClusterTopRequest(
                host=host_id, interval_seconds=_CPU_SECONDS, samples=1
            )
            samples = self._asked_of_hosts.stream(
                lambda stub: stub.Top, request, _CPU_SECONDS + _HOST_SECONDS
            )
            for sample in samples:
                if host_id in sample.silent:
                    break
                return {"vms": [_cpu_of(one.sample) for one in sample.domains]}
        raise NoAnswer(f"{host_id} has not told what its VMs use")

    def _ask(self, rpc: Any, request: Any) -> Any:
        return self._asked.call(rpc, request)

    def _fresh(self, key: str, ask: Callable[[], Json]) -> Json:
        with self._one_at_a_time:
            told = self._told.get(key)
            if told is None or time.monotonic() - told.at > _FRESH:
                if len(self._told) >= _MOST_KEPT:
                    self._told.clear()
                told = self._told[key] = _Told(time.monotonic(), ask())
            return told.answer


def _cpu_of(sample: agent.DomainSample) -> list[Any]:
    return [sample.vm.fleet_uid, sample.vm.index, round(sample.usage.cpu_percent, 1)]


def _all_of(call: ConsoleCall, name: str) -> bytes:
    """The end of it. A host that never comes to the end is left in time."""
    data, deadline = b"", time.monotonic() + _HOST_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([call.wake], [], [], left)[0]:
            break
        output = call.next_output()
        if output is None:
            return data
        data = (data + output.data)[-_LOG_BYTES:]
    raise NoAnswer(f"the host of {name} has not told its console")
