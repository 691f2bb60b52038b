"""What hosts say that they run, by fleet and host: also what the store does not say of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.wire_ranges import from_wire
from fleet_controller.core.host_loss.running_twice import Run, running_twice
from fleet_controller.core.vm_states import BOOTING, RUNNING
from fleet_controller.observed.vectors import stretches


class Running:
    """Of the hosts that are heard. `held`: what the store says that a host has of a fleet, by host
    and uid. What is asked of a fleet is worked out anew only when one of its hosts has changed."""

    def __init__(self, held: Callable[[str, str], IndexSet]) -> None:
        self._held = held
        # By fleet, then by host, then by birth.
        self._runs: dict[str, dict[str, dict[int, IndexSet]]] = defaultdict(dict)
        self._fleets: dict[str, set[str]] = defaultdict(set)  # by host
        self._twice: dict[str, Mapping[str, IndexSet]] = {}  # by fleet, as worked out last

    def reported(self, host_id: str, report: wire.Report) -> None:
        """Raises ValueError for a report that makes no sense."""
        if report.full:
            self.forget(host_id)
        for gone in report.gone:
            self._replace(host_id, gone.fleet_uid, gone.birth, from_wire(gone.ranges), EMPTY)
        for shard in report.shards:
            spans: list[tuple[int, int]] = []
            up: list[tuple[int, int]] = []
            for run in shard.runs:
                states = np.frombuffer(run.states, np.uint8)
                spans.append((run.start, run.start + len(states)))
                up += stretches((states == RUNNING) | (states == BOOTING), run.start)
            self._replace(host_id, shard.fleet_uid, shard.birth, IndexSet(spans), IndexSet(up))

    def forget(self, host_id: str) -> None:
        """The host is not heard, or says all of it anew."""
        for uid in self._fleets.pop(host_id, set()):
            self._twice.pop(uid, None)
            self._drop(host_id, uid)

    def assigned(self, uids: set[str]) -> None:
        """Hosts are to have others of these fleets' VMs."""
        for uid in uids:
            self._twice.pop(uid, None)

    def twice(self, uid: str) -> Mapping[str, IndexSet]:
        """By host, what it runs of the fleet and another host goes on running."""
        found = self._twice.get(uid)
        if found is None:
            runs = [
                Run(host, birth, indices)
                for host, births in self._runs.get(uid, {}).items()
                for birth, indices in births.items()
            ]
            found = self._twice[uid] = running_twice(runs, lambda host: self._held(host, uid))
        return found

    def fleets(self, host_id: str) -> set[str]:
        """The uids of fleets of which the host runs any VM."""
        return self._fleets.get(host_id, set())

    def _replace(self, host_id: str, uid: str, birth: int, told: IndexSet, up: IndexSet) -> None:
        """Of the VMs that were told, these run."""
        births = self._runs.get(uid, {}).get(host_id, {})
        before = births.get(birth, EMPTY)
        after = (before - told) | up if before else up
        if after == before:
            return
        self._twice.pop(uid, None)
        kept = {one: have for one, have in births.items() if one != birth}
        if after:
            kept[birth] = after
        if kept:
            self._runs[uid][host_id] = kept
            self._fleets[host_id].add(uid)
        else:
            self._drop(host_id, uid)
            self._fleets[host_id].discard(uid)

    def _drop(self, host_id: str, uid: str) -> None:
        hosts = self._runs[uid]
        hosts.pop(host_id, None)
        if not hosts:
            del self._runs[uid]
