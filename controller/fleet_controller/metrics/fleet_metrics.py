"""Some nine series of each fleet: the largest under their own names, the rest as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client import Metric

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.metrics.gauges import by_label, by_labels
from fleet_controller.metrics.labels import FLEETS, OTHER_FLEETS

_STATES = [
    (number, name.removeprefix("VM_STATE_").lower())
    for name, number in types.VmState.items()
    if number
]
# There also where no VM is in them: alarms ask for them.
_ALWAYS = ("running", "failed", "unknown")


def fleet_metrics(fleets: Iterable[cluster.FleetStatus]) -> Iterator[Metric]:
    ranked = sorted(fleets, key=lambda fleet: (-fleet.total, fleet.fleet))
    names = [fleet.fleet if at < FLEETS else OTHER_FLEETS for at, fleet in enumerate(ranked)]
    states: dict[str, Counter[str]] = {}
    wanted: Counter[str] = Counter()
    unplaced: Counter[str] = Counter()
    misplaced: Counter[str] = Counter()
    converged: dict[str, float] = {}
    for name, fleet in zip(names, ranked, strict=True):
        wanted[name] += fleet.total
        unplaced[name] += fleet.unplaced
        misplaced[name] += fleet.misplaced
        converged[name] = min(converged.get(name, 1.0), float(fleet.converged))
        counted = states.setdefault(name, Counter(dict.fromkeys(_ALWAYS, 0)))
        for number, state in _STATES:
            if number < len(fleet.states) and fleet.states[number]:
                counted[state] += fleet.states[number]
    yield by_label("fleet_wanted_vms", "VMs that the fleet is to have.", "fleet", wanted)
    yield by_labels(
        "fleet_vms", "VMs of the fleet by state; states without any are left out.",
        ("fleet", "state"),
        (((name, state), n) for name, counted in states.items() for state, n in counted.items()),
    )  # fmt: skip
    yield by_label("fleet_unplaced_vms", "VMs of the fleet without a host.", "fleet", unplaced)
    yield by_label(
        "fleet_misplaced_vms", "VMs where the fleet no longer allows them.", "fleet", misplaced
    )
    yield by_label("fleet_converged", "1: the fleet is as it is to be.", "fleet", converged)
