"""Events as rows of a list and as JSON. Pure: messages in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.output import BAD, DOUBTFUL, GOOD
from fleetctl.tables.column import Column, Kind, clock_text, iso_text


def _about(one: cluster.Event) -> str:
    return " ".join(part for part in (one.fleet, one.host) if part)


def _told(one: cluster.Event) -> str:
    """Its sentence, how often it was so where more than once, and who asked for it."""
    times = f"  ({one.count:,} times, last {clock_text(one.last_unix)})" if one.count else ""
    return one.message + times + (f"  ({one.actor})" if one.actor else "")


# What a kind means, by its colour; others have none.
_COLOURS: Mapping[str, str] = {
    **dict.fromkeys(
        ("breaker_opened", "changes_frozen", "double_assignment", "host_cut_off", "host_distrusted",
         "host_expelled", "host_lost", "host_misbehaves", "host_quarantined", "host_refused",
         "rollout_halted", "schedule_unfit", "store_degraded", "store_trouble", "upgrade_halted",
         "vms_failing", "vms_failing_more"),
        BAD,
    ),
    **dict.fromkeys(
        ("certificate_expires", "fleet_deleting", "host_drain_forced", "host_drain_stopped",
         "host_unreachable", "hosts_unheard", "leader_outranked", "rollout_aborted",
         "rollout_forgotten", "rollout_paused", "rollout_undone", "schedule_clock"),
        DOUBTFUL,
    ),
    **dict.fromkeys(
        ("breaker_closed", "changes_thawed", "fleet_converged", "host_live", "host_readmitted",
         "host_released", "host_returned", "leader_elected", "rollout_done", "rollout_promoted",
         "store_mended", "upgrade_done", "vms_failing_over"),
        GOOD,
    ),
}  # fmt: skip


# With widths that most events need: those of --follow come one by one.
EVENT_COLUMNS: tuple[Column[cluster.Event], ...] = (
    Column("CURSOR", lambda one: one.cursor, Kind.ORDINAL, 20, True),
    Column("WHEN", lambda one: one.time_unix, Kind.TIME),
    Column(
        "KIND", lambda one: one.kind, Kind.NAME, rank=1, least=20,
        colour=lambda one: _COLOURS.get(one.kind),
    ),
    Column("ABOUT", _about, Kind.NAME, rank=2, least=16),
    Column("CHANGE ID", lambda one: one.change_id or None, Kind.NAME, 20, True, least=12),
    Column("WHAT HAPPENED", _told, readable=48),
)  # fmt: skip


def event_json(one: cluster.Event) -> dict[str, Any]:
    """`time` is in seconds since 1970; `when` the same, as people read it."""
    return {
        "cursor": one.cursor,
        "time": one.time_unix,
        "when": iso_text(one.time_unix),
        "kind": one.kind,
        "fleet": one.fleet or None,
        "host": one.host or None,
        "message": one.message,
        "actor": one.actor or None,
        "count": one.count or 1,
        "last": one.last_unix or one.time_unix,
        "change_id": one.change_id or None,
    }
