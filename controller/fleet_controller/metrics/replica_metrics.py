"""What each controller tells, whether it leads or not."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from fleet_controller.metrics.cluster_metrics import cluster_metrics
from fleet_controller.metrics.gauges import by_label, by_labels, gauge
from fleet_controller.metrics.labels import KINDS_OF_EVENTS, MEMBERS, few
from fleet_controller.metrics.snapshot import Snapshot
from fleet_controller.store.health import CORRUPT, NOSPACE, StoreHealth


def replica_metrics(snapshot: Snapshot) -> Iterator[Metric]:
    """All of one controller, with the cluster's where it leads."""
    leads = snapshot.cluster is not None
    yield by_labels(
        "controller_info", "The controller's name and version.", ("replica", "version"),
        [((snapshot.replica, snapshot.version), 1)],
    )  # fmt: skip
    yield gauge("controller_leads", "1: this controller leads.", leads)
    yield gauge(
        "controller_term", "Term of the leader that this controller knows of; 0: none.",
        snapshot.term,
    )  # fmt: skip
    ends: dict[str, float] = dict(snapshot.certificates)
    if snapshot.cluster is not None and snapshot.cluster.host_certificate_end:
        ends["hosts"] = snapshot.cluster.host_certificate_end
    yield by_label(
        "certificate_end_timestamp_seconds",
        "When a certificate ends: this controller's own, and the first of the hosts'.",
        "certificate", ends,
    )  # fmt: skip
    events = CounterMetricFamily(
        "megafleet_events", "Events told by this controller since it started.", labels=("kind",)
    )
    for kind, count in few(snapshot.events, KINDS_OF_EVENTS).items():
        events.add_metric((kind,), count)
    yield events
    if snapshot.backup:
        yield gauge(
            "last_backup_timestamp_seconds",
            "When this controller last sent a whole copy of the store.", snapshot.backup,
        )  # fmt: skip
    yield gauge("store_durable", "0: the store is this controller's memory.", snapshot.durable)
    if snapshot.store is not None:
        yield from _store(snapshot.store, snapshot.store_age)
    if snapshot.cluster is not None:
        yield from cluster_metrics(snapshot.cluster)


def _store(store: StoreHealth, age: float) -> Iterator[Metric]:
    yield gauge("store_look_age_seconds", "Since the store was last looked at.", age)
    readable = store.read_seconds is not None
    yield gauge("store_readable", "1: a quorum of the store answers reads.", readable)
    if store.read_seconds is not None:
        yield gauge(
            "store_read_seconds", "What a read took that a quorum confirms.", store.read_seconds
        )
    members = store.members[:MEMBERS]
    yield by_label(
        "store_member_up", "1: this controller reaches the member of the store.", "member",
        {one.address: float(not one.problem) for one in members},
    )  # fmt: skip
    there = [one for one in members if not one.problem]
    yield by_labels(
        "store_member_alarm", "1: the member has raised this alarm.", ("member", "alarm"),
        (
            ((one.address, alarm), float(alarm in one.alarms))
            for one in there
            for alarm in (NOSPACE, CORRUPT)
        ),
    )  # fmt: skip
    yield by_label(
        "store_member_answer_seconds", "What the member took to say how it is.", "member",
        {one.address: one.seconds for one in there},
    )  # fmt: skip
    yield by_label(
        "store_member_size_bytes", "Size of the member's database.", "member",
        {one.address: one.used for one in there},
    )  # fmt: skip
    yield by_label(
        "store_member_quota_bytes", "At which size it takes no more changes.", "member",
        {one.address: one.quota for one in there if one.quota},
    )  # fmt: skip
