"""Hosts as rows of a list. Pure: messages in, columns out."""

from __future__ import annotations

from collections.abc import Callable

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.tables.column import Column, Kind, Value
from fleetctl.views.hosts.hosts import ACCELERATOR_LABEL, health_colour, labels_text, standing

Host = cluster.HostSummary


def _failed_colour(one: Host) -> str | None:
    return "red" if one.failed else None


def host_columns(asked_at: float) -> tuple[Column[Host], ...]:
    """`asked_at`: seconds since 1970; ages of reports were told then."""
    return (
        Column("HOST", lambda one: one.id, Kind.NAME),
        Column("HEALTH", standing, colour=health_colour),
        Column("ASSIGNED", lambda one: one.assigned, Kind.NUMBER, rank=3),
        Column("RUNNING", lambda one: one.running, Kind.NUMBER, rank=1),
        Column("FAILED", lambda one: one.failed, Kind.NUMBER, rank=1, colour=_failed_colour),
        Column("CAPACITY", lambda one: one.capacity_guests, Kind.NUMBER, rank=4),
        Column("HEARD", _heard(asked_at), Kind.AGE, rank=5),
        Column("ADDRESS", lambda one: one.address, Kind.NAME, rank=6),
        Column("LABELS", lambda one: labels_text(one.labels), rank=7),
        Column("VERSION", lambda one: one.agent_version or None, Kind.NAME, 20, True),
        Column("MEMORY", lambda one: one.memory_bytes or None, Kind.BYTES, 21, True),
        Column("ACCELERATOR", _accelerator, Kind.TEXT, 24, True),
        Column("IMAGES", _images, Kind.TEXT, 25, True),
        Column("HYPERVISOR", lambda one: one.hypervisor or None, Kind.TEXT, 23, True),
        Column(
            "CERTIFICATE ENDS",
            lambda one: one.certificate_expires_unix or None,
            Kind.TIME,
            22,
            True,
        ),
    )


def _accelerator(one: Host) -> Value:
    return one.labels.get(ACCELERATOR_LABEL) or None


def _images(one: Host) -> Value:
    more = f" and {one.more_images:,} more" if one.more_images else ""
    return f"{', '.join(one.images)}{more}" or None


def _heard(asked_at: float) -> Callable[[Host], Value]:
    def heard(one: Host) -> Value:
        return asked_at - one.report_age_seconds if one.report_age_seconds >= 0 else "never"

    return heard
