"""What the leader alone tells: of the cluster as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import HistogramMetricFamily

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.model import RolloutState
from fleet_controller.metrics.fleet_metrics import fleet_metrics
from fleet_controller.metrics.gauges import by_label, gauge
from fleet_controller.metrics.labels import VERSIONS, few, problem
from fleet_controller.metrics.snapshot import ClusterSample, HostSample

_HEALTH = ("live", "unreachable", "suspect", "lost")
_APART = (
    "cordoned", "draining", "quarantined", "misbehaving", "awaiting_approval", "cut_off",
    "distrusted", "expelled", "orders_refused",
)  # fmt: skip


def cluster_metrics(sample: ClusterSample) -> Iterator[Metric]:
    status = sample.status
    yield gauge("read_seconds", "What reading all of this took the leader.", sample.seconds)
    yield HistogramMetricFamily(
        "megafleet_boot_seconds",
        "From a VM's start until it was ready, as hosts have told this leader.",
        buckets=sample.boots or [("+Inf", 0.0)],
        sum_value=sample.boot_seconds,
    )
    yield gauge("state_watchers", "Streams of VM states that the leader sends.", sample.watchers)
    yield from _hosts(sample)
    yield from _guards(status)
    yield from _vms(status)
    yield from fleet_metrics(status.fleets)
    if sample.hosts:
        yield from _each_host(sample.hosts)


def _hosts(sample: ClusterSample) -> Iterator[Metric]:
    counts = sample.status.hosts
    yield by_label(
        "hosts", "Hosts by health.", "health", {one: getattr(counts, one) for one in _HEALTH}
    )
    yield by_label(
        "hosts_set_apart", "Hosts of which something is amiss or decided; any of them several.",
        "why", {one: getattr(counts, one) for one in _APART},
    )  # fmt: skip
    yield gauge("hosts_converged", "Hosts that have all that they are to have.", counts.converged)
    yield by_label(
        "hosts_of_version", "Hosts by their agents' version.", "version",
        few(sample.versions, VERSIONS),
    )  # fmt: skip
    yield gauge("capacity_vms", "VMs that all hosts admit, as far as they count.", sample.capacity)
    yield gauge(
        "oldest_report_age_seconds", "Of the live host that has been silent longest.",
        sample.status.oldest_report_seconds,
    )  # fmt: skip


def _guards(status: cluster.StatusResponse) -> Iterator[Metric]:
    yield gauge("frozen", "1: changes are frozen.", status.HasField("freeze"))
    yield gauge(
        "settling",
        "1: the leader is new, and has not heard all hosts.",
        status.HasField("settling"),
    )
    yield gauge("breaker_open", "1: lost hosts are not replaced.", status.HasField("breaker"))
    yield gauge(
        "breaker_waiting_hosts", "Hosts due to be declared lost, which the breaker holds.",
        status.breaker.waiting_hosts,
    )  # fmt: skip
    yield gauge(
        "breaker_released", "1: an operator has lost hosts replaced, however many are gone.",
        status.breaker_released_seconds > 0,
    )  # fmt: skip


def _vms(status: cluster.StatusResponse) -> Iterator[Metric]:
    """Of all fleets together."""
    fleets = status.fleets
    unplaced: Counter[str] = Counter()
    vms: Counter[str] = Counter()
    hosts: dict[str, int] = {}
    for fleet in fleets:
        for reason in fleet.unplaced_reasons:
            unplaced[reason.reason] += reason.count
        of_fleet: Counter[str] = Counter()
        for one in fleet.problems:
            vms[problem(one.kind)] += one.count
            of_fleet[problem(one.kind)] += one.hosts
        # Problems of hosts themselves are told with each fleet.
        for kind, count in of_fleet.items():
            hosts[kind] = max(hosts.get(kind, 0), count)
    yield gauge("placed_vms", "VMs that have a host.", sum(fleet.placed for fleet in fleets))
    yield by_label("unplaced_vms", "VMs that have no host, by reason.", "reason", unplaced)
    yield by_label("problem_vms", "VMs that a problem is told of, by kind.", "kind", vms)
    yield by_label("problem_hosts", "Hosts that tell a problem, by kind.", "kind", hosts)
    yield gauge(
        "duplicate_vms", "VMs that may run twice.", sum(fleet.duplicates for fleet in fleets)
    )
    yield gauge(
        "lost_host_vms", "VMs that wait on hosts that are lost.",
        sum(fleet.on_lost_hosts for fleet in fleets),
    )  # fmt: skip
    rollouts = [fleet.rollout for fleet in fleets if fleet.HasField("rollout")]
    states = Counter(one.state for one in rollouts)
    yield by_label(
        "rollouts", "Fleets by the state of their last rollout.", "state",
        {state: states[state] for state in RolloutState},
    )  # fmt: skip
    yield gauge(
        "rollouts_forgotten", "Rollouts whose canaries have waited for long to be promoted.",
        sum(one.forgotten for one in rollouts),
    )  # fmt: skip
    still = (RolloutState.RUNNING, RolloutState.CANARY, RolloutState.PAUSED, RolloutState.HALTED)
    yield gauge(
        "rollout_left_vms", "VMs that rollouts have still to change.",
        sum(one.left for one in rollouts if one.state in still),
    )  # fmt: skip


def _each_host(hosts: tuple[HostSample, ...]) -> Iterator[Metric]:
    yield by_label(
        "host_live", "1: the host is heard.", "host", {one.id: float(one.live) for one in hosts}
    )
    yield by_label(
        "host_report_age_seconds", "Since the host was heard.", "host",
        {one.id: one.report_age for one in hosts if one.report_age >= 0},
    )  # fmt: skip
    yield by_label(
        "host_assigned_vms", "VMs that the host is to have.", "host",
        {one.id: one.assigned for one in hosts},
    )  # fmt: skip
